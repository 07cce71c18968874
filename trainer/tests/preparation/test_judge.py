"""Verdicts: what passes, what does not, and that a candidate cannot make itself pass."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from weighted_mtp.preparation.inside import decode, encode
from weighted_mtp.preparation.judge import Judge, Tests, judge_all
from weighted_mtp.preparation.sandbox import Limits, Sandbox, SandboxUnavailable

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(5) == 6\n"
TESTS = Tests("", CHECK, "f")
RIGHT = "def f(x): return x + 1"


@pytest.fixture(scope="module")
def judge():
    with Judge(Sandbox(Limits(cpu_seconds=1, wall_seconds=3))) as judge:
        yield judge


def test_right_and_wrong(judge):
    assert judge.verdict(RIGHT, TESTS).passed
    wrong = judge.verdict("def f(x): return x", TESTS)
    assert (wrong.status, wrong.reason) == ("failed", "wrong answer: AssertionError: ")
    assert "ZeroDivisionError" in judge.verdict("def f(x): return x / 0", TESTS).reason
    assert "does not load" in judge.verdict("def f(x) return x", TESTS).reason
    assert "KeyError" in judge.verdict("def g(x): return x", TESTS).reason


FORGED = {
    "says so": """
print('passed'); print('{"passed": true}', flush=True)
def f(x): return x""",
    "exits with 0": """
import os
def f(x): os._exit(0)""",
    "exits with 0 when loaded": """
import os
os._exit(0)""",
    "raises SystemExit": """
import sys
def f(x): sys.exit(0)""",
    "is equal to everything": """
class E:
    def __eq__(self, other): return True
def f(x): return E()""",
    "is a number equal to everything": """
class E(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return E(0)""",
    "answers for the checker": """
import json, os, struct
d = json.dumps({'passed': True, 'reason': ''}).encode()
def f(x):
    for fd in range(64):
        try: os.write(fd, struct.pack('>I', len(d)) + d)
        except OSError: pass
    return 0""",
    "rewrites the program around it": """
import __main__, builtins, gc, sys
def f(x):
    __main__.encode = lambda v: 'all right'
    builtins.AssertionError = ValueError
    for o in gc.get_objects():
        if isinstance(o, dict) and 'check' in o: o['check'] = print
    return 0""",
    "looks for the tests": """
import gc, sys
def f(x):
    frame = sys._getframe()
    while frame:
        for v in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if isinstance(v, str) and 'assert candidate' in v: return x + 1
        frame = frame.f_back
    for o in gc.get_objects():
        if isinstance(o, dict) and 'assert candidate' in str(o.get('test')): return x + 1
    return 0""",
}


@pytest.mark.parametrize("source", FORGED.values(), ids=FORGED)
def test_forged_success(judge, source):
    assert not judge.verdict(source, TESTS).passed
    assert judge.verdict(RIGHT, TESTS).passed  # and the checker is still in order


@pytest.mark.parametrize("name", ["exits with 0", "is equal to everything"])
def test_forgeries_would_fool_tests_in_the_same_process(sandbox, name):
    assert sandbox.run(FORGED[name] + "\n" + CHECK + "\ncheck(f)").passed


def test_endless_candidates(judge):
    started = time.monotonic()
    assert not judge.verdict("def f(x):\n    while True: pass", TESTS).passed
    asleep = judge.verdict("import time\ndef f(x): time.sleep(60)", TESTS)
    assert asleep.status == "timed out"
    assert time.monotonic() - started < 7
    assert judge.verdict(RIGHT, TESTS).passed


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return [0] * 10_000_000",
        "def f(x):\n    v = []\n    for _ in range(100000): v = [v]\n    return v",
        "def f(x): return 10 ** 100000",
        "def f(x): return (i for i in range(3))",
        "def f(x):\n    v = []\n    v.append(v)\n    return v",
    ],
    ids=["large", "deep", "long number", "generator", "contains itself"],
)
def test_answers_that_cannot_be_used(judge, source):
    assert judge.verdict(source, TESTS).status == "failed"
    assert judge.verdict(RIGHT, TESTS).passed


def test_helpers_of_the_prompt_and_expected_errors(judge):
    check = (
        "def check(candidate):\n    assert helper(candidate(1)) == 4\n"
        "    try: candidate('x')\n    except TypeError: return\n    assert False\n"
    )
    tests = Tests("def helper(x): return 2 * x\n", check, "f")
    assert judge.verdict(RIGHT, tests).passed


def test_tests_that_call_nothing_prove_nothing(judge):
    assert not judge.verdict(RIGHT, Tests("", "def check(candidate): pass", "f")).passed


def test_values_keep_their_types():
    values = [1, 1.0, True, None, "é", [1, (2, 3)], {"a": {1, 2}, (1,): b"x"}, frozenset({3}), 1j, -(10**40)]
    for value in values:
        copy = decode(encode(value))
        assert copy == value and type(copy) is type(value)
    with pytest.raises(TypeError, match="a range is no"):
        encode(range(3))


def test_many_in_order(sandbox):
    sources = [RIGHT, "def f(x): return x"] * 4
    seen = []
    results = judge_all(sandbox, [(source, TESTS) for source in sources], workers=2, progress=seen.append)
    assert [result.passed for result in results] == [True, False] * 4
    assert seen == list(range(1, 9))


def test_a_start_is_cheap(sandbox):
    times = []
    for _ in range(8):
        started = time.monotonic()
        assert sandbox.run("pass").passed
        times.append(time.monotonic() - started)
    assert min(times) < 0.25  # 0.05 s on an idle machine


def test_refuses_without_bubblewrap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"bwrap.* not found on PATH") as refusal:
        Sandbox()
    assert "apt-get install bubblewrap" in refusal.value.remedy
    assert "--allow-unsandboxed" in refusal.value.remedy
    assert not Sandbox(allow_unsandboxed=True).isolated


def test_refuses_where_namespaces_are(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SandboxUnavailable, match="setting up uid map: Permission denied"):
        Sandbox()


def test_refuses_a_bwrap_that_does_not_isolate(monkeypatch, tmp_path):
    lazy = tmp_path / "bwrap"
    lazy.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    lazy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SandboxUnavailable, match="a trial run failed"):
        Sandbox()


def test_command_line_refuses_with_remedy(tmp_path):
    source = Path(__file__).resolve().parents[2] / "src"
    command = [sys.executable, "-m", "weighted_mtp.preparation", "--output", str(tmp_path / "out")]
    env = {"PATH": str(tmp_path), "PYTHONPATH": str(source)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot be isolated" in done.stderr and "--allow-unsandboxed" in done.stderr
    assert not (tmp_path / "out").exists()

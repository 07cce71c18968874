"""Command line. Nothing heavy is imported here: a wrong key is reported in a fraction of a second."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from weighted_mtp.config import PIPELINES
from weighted_mtp.errors import EXIT_BAD_INPUT, EXIT_PROGRAM_ERROR, InputError, Stopped
from weighted_mtp.events import Events


def _add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, type=Path, help="configs/<pipeline>/<pipeline>.yaml")
    parser.add_argument(
        "--override", action="append", default=[], metavar="KEY.PATH=VALUE", help="may be given several times"
    )
    parser.add_argument("--critic-checkpoint", type=Path, help="verifiable: directory of the critic to score with")
    parser.add_argument("--dry-run", action="store_true", help="check everything, train nothing")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--run-name", help="name of the run in the tracker")
    parser.add_argument("--tags", default="", help="comma-separated, for the tracker")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _execute(pipeline: str, arguments: argparse.Namespace) -> int:
    """Run it, and turn whatever happens into an exit code, a message and, last, an `exit` event.

    torchrun replaces its workers' exit codes by 1, so the launcher reads the code from that event.
    """
    _die_with_torchrun()
    events = Events(_rank() == 0, arguments.verbose)
    try:
        from weighted_mtp.run import run

        code, message, remedy = run(pipeline, arguments, events), "", ""
    except InputError as error:
        code, message, remedy = EXIT_BAD_INPUT, error.cause, error.remedy
        text = (
            f"error: {error.cause}\n{error.remedy}" if "\n" in error.cause else f"error: {error.cause}; {error.remedy}"
        )
    except Stopped as stopped:
        code, message, remedy = stopped.exit_code, str(stopped), "start again to resume"
        text = message
    except Exception as error:
        code, message, remedy = EXIT_PROGRAM_ERROR, f"{type(error).__name__}: {error}", "see the traceback above"
        text = f"error: {message}"
        traceback.print_exc()
    if code:
        if _rank() == 0:
            print(text, file=sys.stderr, flush=True)
        else:
            if code == EXIT_PROGRAM_ERROR:
                print(f"[rank {_rank()}] {text}", file=sys.stderr, flush=True)
            time.sleep(1)  # torchrun ends the others when one ends: let rank 0 speak first
    events.emit("exit", code=code, message=message, remedy=remedy)
    return code


def _die_with_torchrun() -> None:
    """A worker whose torchrun was killed would train on alone, and keep the next attempt from its output directory."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def _leave(code: int) -> int:
    """Under torchrun, skip the interpreter's clean-up: gigabytes of tensors and a process group that may already
    be half gone are the operating system's to free."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "RANK" in os.environ:
        os._exit(code)
    return code


def run_pipeline(pipeline: str, argv: Sequence[str] | None = None) -> int:
    """Entry point of `weighted_mtp.pipelines.run_<pipeline>`."""
    parser = argparse.ArgumentParser(prog=f"python -m weighted_mtp.pipelines.run_{pipeline}")
    _add_train_arguments(parser)
    return _leave(_execute(pipeline, parser.parse_args(argv)))


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m weighted_mtp train|prepare|schema`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["prepare"]:
        from weighted_mtp.preparation.cli import main as prepare

        return prepare(argv[1:])
    parser = argparse.ArgumentParser(prog="python -m weighted_mtp")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train one pipeline")
    train.add_argument("--pipeline", required=True, choices=PIPELINES)
    _add_train_arguments(train)
    commands.add_parser("prepare", help="make a data set, executing tests for rewards", add_help=False)
    schema = commands.add_parser("schema", help="print the configuration's JSON Schema and every pipeline's defaults")
    schema.add_argument("--write", type=Path, help="write it to this file instead")
    arguments = parser.parse_args(argv)
    if arguments.command == "schema":
        from weighted_mtp.schema import render

        if arguments.write:
            arguments.write.write_text(render(), encoding="utf-8")
        else:
            sys.stdout.write(render())
        return 0
    return _leave(_execute(arguments.pipeline, arguments))

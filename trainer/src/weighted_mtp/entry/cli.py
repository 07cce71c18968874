"""The command line, and the order in which things happen."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from weighted_mtp.config import TrainConfig
from weighted_mtp.entry import resume
from weighted_mtp.entry.child import Deadline, DeadlinePassed, Signals, train
from weighted_mtp.entry.fetch import in_background, remove_stale
from weighted_mtp.entry.inputs import bring, check_space, find, parse
from weighted_mtp.entry.store import Place, Unavailable, patiently
from weighted_mtp.entry.upload import Uploader, Watcher
from weighted_mtp.errors import (
    EXIT_BAD_INPUT,
    EXIT_PROGRAM_ERROR,
    EXIT_STOPPED_NOT_SAVED,
    EXIT_STOPPED_SAVED,
    ConfigError,
    InputError,
    Stopped,
)
from weighted_mtp.events import Events
from weighted_mtp.overrides import validate

USAGE = "python -m weighted_mtp.entry [--fetch URI=PATH]... --checkpoints URI [--max-duration SECONDS] -- COMMAND..."
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, f"usage: {USAGE}")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Do it all, and leave with an exit code; the last thing said is why, if that is not the trainer's to say."""
    signals = Signals()
    events = Events(True)
    code, failure = EXIT_PROGRAM_ERROR, None
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv), signals, events)
    except InputError as error:
        failure = EXIT_BAD_INPUT, error.cause, error.remedy
    except Unavailable as error:
        failure = EXIT_STOPPED_SAVED, error.cause, error.remedy
    except Stopped:
        failure = EXIT_STOPPED_NOT_SAVED, "stopped by SIGTERM before the training", "start again to resume"
    except DeadlinePassed:
        failure = EXIT_PROGRAM_ERROR, "deadline passed", "raise maxDuration, then run pulumi up to resume"
    except Exception as error:
        sys.stderr.write(_without_secrets(traceback.format_exc()))
        message = _without_secrets(f"{type(error).__name__}: {error}")
        failure = EXIT_PROGRAM_ERROR, message, "see the traceback above"
    if failure:
        code, cause, remedy = failure
        separator = "\n" if "\n" in cause else "; "
        print(f"error: {cause}{separator}{remedy}", file=sys.stderr, flush=True)
        events.emit("exit", code=code, message=cause, remedy=remedy)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # transfers that were cut off are not waited for


def _run(argv: list[str], signals: Signals, events: Events) -> int:
    arguments, command = _parse(argv)
    deadline = Deadline(arguments.max_duration, events)
    app = Path.cwd().resolve()
    config = _config(app)
    output, scores = Path(config.paths.output), Path(config.paths.scores)

    # Everything that can be wrong is found before the first byte of many gigabytes moves.
    inputs = [parse(argument, app, config, command) for argument in arguments.fetch]
    place = Place(arguments.checkpoints)
    found = in_background(
        lambda: patiently(lambda: resume.look(place, output, config.checkpoint.keep_last)), deadline.check
    )
    in_background(lambda: patiently(place.check_writable), deadline.check)
    needed = [(source, in_background(lambda s=source: patiently(lambda: find(s)), deadline.check)) for source in inputs]
    wanted = resume.items(found, place, output, scores)
    everything = [item for _, items in needed for item in items] + wanted
    remove_stale(everything)
    check_space(everything)
    for source, items in needed:
        bring(source.role if source.is_critic else source.target.name, items, events, deadline.check)
    resume.restore(found, wanted, output, events, deadline.check)

    uploader = Uploader(place, output, scores, found, events)
    watcher = Watcher(uploader, events)
    watcher.start()
    code = train(command, _environment(app), deadline, signals)
    watcher.stop()
    code = _finish(uploader, watcher, code, events)
    if deadline.told:
        raise DeadlinePassed
    return code


def _finish(uploader: Uploader, watcher: Watcher, code: int, events: Events) -> int:
    """The last upload -> the exit code of it all. Only where the trainer has nothing to complain of are its troubles
    the ones to report."""
    try:
        uploader.finish()
    except (InputError, Unavailable) as error:
        error.cause = f"the checkpoints are not uploaded: {error.cause}"
        if code == 0:
            raise
        events.say(f"error: {error.cause}; {error.remedy}")
        return EXIT_STOPPED_NOT_SAVED if code == EXIT_STOPPED_SAVED else code
    watcher.recovered()
    return code


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(prog="python -m weighted_mtp.entry", usage=USAGE)
    parser.add_argument("--fetch", action="append", default=[], metavar="URI=PATH")
    parser.add_argument("--checkpoints", required=True, metavar="URI")
    parser.add_argument("--max-duration", type=int, metavar="SECONDS")
    end = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:end])
    command = argv[end + 1 :]
    if not command:
        parser.error("there is no COMMAND after --")
    if arguments.max_duration is not None and arguments.max_duration <= 0:
        parser.error("--max-duration must be above 0")
    return arguments, command


def _config(app: Path) -> TrainConfig:
    """The run's configuration, written to run.yaml for the trainer."""
    given = os.environ.get("WMTP_CONFIG")
    if not given:
        raise ConfigError("WMTP_CONFIG is not set", "put the resolved configuration, as JSON, into the environment")
    try:
        content = json.loads(given)
    except ValueError as error:
        raise ConfigError(f"WMTP_CONFIG is not JSON: {error}", "put the resolved configuration there") from error
    config = validate(content, "WMTP_CONFIG")
    _write(app / "run.yaml", json.dumps(content, indent=2, ensure_ascii=False) + "\n")  # JSON is YAML
    return config


def _environment(app: Path) -> dict[str, str]:
    """The trainer's: ours, and the certificate of its tracker as the file that MLflow wants."""
    environment = dict(os.environ)
    if certificate := environment.pop("WMTP_TRACKER_CA", ""):
        _write(app / "tracker-ca.pem", certificate)
        environment["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(app / "tracker-ca.pem")
    return environment


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "start where that can be written") from error


def _without_secrets(text: str) -> str:
    for name in SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, f"[{name}]")
    return text

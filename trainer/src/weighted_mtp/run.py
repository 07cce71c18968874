"""One run from its command line to COMPLETED.json: read, check, score, train, report."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from weighted_mtp.config import TrainConfig
from weighted_mtp.driver import check_driver
from weighted_mtp.errors import ConfigError, InputError, Stopped, TrackerError
from weighted_mtp.events import Events
from weighted_mtp.overrides import load_config
from weighted_mtp.results_version import RESULTS_VERSION

if TYPE_CHECKING:
    from torch import Tensor

    from weighted_mtp.inputs import Inputs
    from weighted_mtp.objectives import Objective
    from weighted_mtp.parallel import World
    from weighted_mtp.tracking import Tracker
    from weighted_mtp.weighting import Scheme

COMPLETED = "COMPLETED.json"
LOCK_SECONDS = 10.0  # how long to wait for another trainer to leave the output directory


def run(pipeline: str, arguments: argparse.Namespace, events: Events) -> int:
    """Train `pipeline` as the command line says -> exit code 0. Everything else is an exception (see `cli.py`)."""
    config = load_config(arguments.config, arguments.override, pipeline)
    check_driver(config, arguments.dry_run)
    world_size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if arguments.dry_run:
        from weighted_mtp.dry_run import dry_run

        return dry_run(config, arguments.critic_checkpoint, world_size, events)
    fingerprint = os.environ.get("WMTP_FINGERPRINT") or config.own_fingerprint(world_size)
    output = Path(config.paths.output)
    completed = read_completed(output, fingerprint)
    if completed is not None:
        events.say(f"already completed: {output / COMPLETED}")
        events.emit("completed", **completed)
        return 0
    return _train(config, arguments, events, output, fingerprint, world_size)


def read_completed(output: Path, fingerprint: str) -> dict[str, Any] | None:
    """COMPLETED.json if it is this run's and the checkpoint that it speaks of is there."""
    try:
        content = json.loads((output / COMPLETED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = (output / str(content.get("checkpoint"))).is_dir()
    return content if content.get("fingerprint") == fingerprint and whole else None


def forget_broken_completion(output: Path, events: Events) -> None:
    """A completion whose best checkpoint was removed: that state is gone, so the run starts from its beginning."""
    if not (output / COMPLETED).is_file():
        return
    events.say(f"{output / COMPLETED} is there but its checkpoint is not: training from the beginning")
    (output / COMPLETED).unlink()
    shutil.rmtree(output / "checkpoints", ignore_errors=True)


def claim(output: Path) -> IO[str]:
    """Make the output directory this process's as long as the returned file is open: a second trainer, or workers
    that outlived their launcher, must not write the same checkpoints. A lock dies with its process."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / "run.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"paths.output {output} cannot be written: {error.strerror}", "choose another place"
        ) from error
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if time.monotonic() > patience:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise InputError(
                    f"process {holder} is training into {output}", "wait for it, or end that process, then start again"
                ) from error
            time.sleep(0.2)
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def start_record(output: Path, fingerprint: str, rank: int) -> str:
    """Claim the output directory -> when the first attempt started (ISO 8601, UTC)."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    path = output / "run.json"
    try:
        output.mkdir(parents=True, exist_ok=True)
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        record = {"fingerprint": fingerprint, "started_at": now}
        if rank == 0:
            path.write_text(json.dumps(record) + "\n", encoding="utf-8")
        return now
    except ValueError:
        return now
    except OSError as error:
        raise InputError(
            f"paths.output {output} cannot be written: {error.strerror}", "choose another directory"
        ) from error
    if record.get("fingerprint") != fingerprint:
        raise InputError(
            f"{output} belongs to another run (fingerprint {str(record.get('fingerprint'))[:12]}, "
            f"this one is {fingerprint[:12]})",
            "give every run its own paths.output, or remove the directory",
        )
    return str(record.get("started_at", now))


def _train(
    config: TrainConfig, arguments: argparse.Namespace, events: Events, output: Path, fingerprint: str, world_size: int
) -> int:
    clock = Clock(events)
    rank = int(os.environ.get("RANK", "0"))
    events.emit("phase", name="load")
    lock = claim(output) if rank == 0 else None
    if rank == 0:
        forget_broken_completion(output, events)
    started_at = start_record(output, fingerprint, rank)
    tracker = make_tracker(config, arguments, fingerprint, world_size, events) if rank == 0 else _no_tracker()
    clock.lap("config")
    try:
        _train_tracked(config, arguments, events, output, fingerprint, world_size, started_at, tracker, clock)
    except BaseException as error:
        # Whatever ends the run early ends it in the tracker too: a run that says RUNNING for ever is a lie.
        stopped = isinstance(error, Stopped)
        curve = output / "curve.jsonl"
        with contextlib.suppress(TrackerError):  # the first error is the one to report
            tracker.finish("KILLED" if stopped else "FAILED", {}, [curve] if not stopped and curve.is_file() else [])
        raise
    if lock:
        lock.close()
    clock.report()
    return 0


def _train_tracked(
    config: TrainConfig,
    arguments: argparse.Namespace,
    events: Events,
    output: Path,
    fingerprint: str,
    world_size: int,
    started_at: str,
    tracker: Tracker,
    clock: Clock,
) -> None:
    rank = int(os.environ.get("RANK", "0"))

    from weighted_mtp.inputs import read_inputs
    from weighted_mtp.parallel import World
    from weighted_mtp.trainer import StopFlag, Trainer

    stop = StopFlag()
    clock.lap("import")
    inputs = read_inputs(config, arguments.critic_checkpoint)
    for line in inputs.summary:
        events.say(line)
    clock.lap("data")
    world = World(config.distributed)
    clock.lap("process group")
    scheme = make_scheme(config, inputs, world, events)
    clock.lap("score")
    objective = make_objective(config, inputs, scheme, world)
    clock.lap("model")
    trainer = Trainer(
        config, world, objective, inputs.train, inputs.valid, output, fingerprint, events, tracker, stop
    )  # fmt: skip
    progress = trainer.resume()
    clock.lap("resume")
    logged_until = tracker.ready()
    clock.lap("wait for the tracker")
    events.emit(
        "start",
        steps=trainer.plan.steps,
        effective_batch=config.effective_batch(world_size),
        resumed_from=progress.step or None,
        mlflow_run_id=tracker.run_id,
        mlflow_experiment_id=tracker.experiment_id,
    )
    stop.in_loop()
    result = trainer.train(progress, logged_until)
    clock.lap("train", trainer.seconds)
    final = {"first_loss": result.first_loss, "final_loss": result.final_loss, **result.metrics}
    if rank == 0:
        resolved = output / "config.json"
        resolved.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
        tracker.finish("FINISHED", {f"final/{k}": v for k, v in final.items()}, [resolved, output / "curve.jsonl"])
        clock.lap("tracker")
        from weighted_mtp.model_io import write_json
        from weighted_mtp.trainer import BEST

        content = {
            "fingerprint": fingerprint,
            "pipeline": config.pipeline,
            "results_version": RESULTS_VERSION,
            "steps": result.steps,
            "first_loss": result.first_loss,
            "final_loss": result.final_loss,
            "started_at": started_at,
            "finished_at": datetime.datetime.now(datetime.UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "duration_seconds": round(result.duration_seconds, 3),
            "effective_batch": config.effective_batch(world_size),
            "world_size": world_size,
            "mlflow_run_id": tracker.run_id,
            "mlflow_experiment_id": tracker.experiment_id,
            "checkpoint": BEST,
            "metrics": result.metrics,
        }
        write_json(output / COMPLETED, content)  # the last thing that a run writes
        events.emit("completed", **content)
    world.barrier()
    world.close()


def make_scheme(config: TrainConfig, inputs: Inputs, world: World, events: Events) -> Scheme | None:
    """The weighting scheme of a language-model pipeline, with its scores; None for the critic."""
    from weighted_mtp import critic, mtp_loss, weighting
    from weighted_mtp.model_io import load_transformer

    if config.pipeline == "critic":
        return None
    if config.weighting.scheme == "critic":
        assert inputs.critic is not None
        found = inputs.critic

        def load_value_model() -> Any:
            return critic.load_critic(inputs.trunk, world, config.distributed, train_trunk=False, checkpoint=found.path)

        values = scores_of(
            config, inputs, world, events, "critic", found.scorer_hash, load_value_model, critic.token_values
        )
        return weighting.Fixed(weighting.critic_weights(values, inputs.train, config.weighting))
    if config.weighting.scheme == "rho1":
        reference = inputs.reference
        assert reference is not None and inputs.reference_hash is not None

        def load_reference() -> Any:
            return load_transformer(reference, world, config.distributed, heads=1)

        losses = scores_of(
            config, inputs, world, events, "reference", inputs.reference_hash, load_reference, mtp_loss.token_losses
        )
        return weighting.ExcessLoss(losses, config.weighting.top_k, world)
    return weighting.Uniform()


def scores_of(
    config: TrainConfig,
    inputs: Inputs,
    world: World,
    events: Events,
    kind: str,
    scorer_hash: str,
    load: Callable[[], Any],
    score: Callable[..., Tensor],
) -> list[Tensor]:
    """Scores of the training data, from the cache or computed now; the scorer's memory is given back."""
    from weighted_mtp import scores
    from weighted_mtp.data import content_hash

    events.emit("phase", name="score")
    path = scores.cache_file(
        Path(config.paths.scores), kind, scorer_hash, content_hash(inputs.train), config.distributed.mixed_precision
    )

    def make() -> list[Tensor]:
        return scores.compute(load(), score, inputs.train, world, config.data.max_length, config.training.batch_size)

    values, made = scores.cached(path, inputs.train, world, make)
    events.say(f"{kind} scores of {len(inputs.train)} documents {'written to' if made else 'read from'} {path}")
    return values


def make_objective(config: TrainConfig, inputs: Inputs, scheme: Scheme | None, world: World) -> Objective:
    from weighted_mtp.critic import load_critic
    from weighted_mtp.model_io import load_transformer
    from weighted_mtp.objectives import Critic, LanguageModel

    if scheme is None:
        assert inputs.trunk_sha256 is not None
        model = load_critic(inputs.trunk, world, config.distributed, train_trunk=config.critic.train_trunk)
        return Critic(model, inputs.train, config.critic.loss, inputs.trunk, inputs.trunk_sha256, world)
    policy = load_transformer(inputs.base, world, config.distributed, heads=config.loss.heads)
    weights = config.loss.head_weights
    if weights is not None and len(weights) != len(policy.heads):
        raise ConfigError(
            f"loss.head_weights has {len(weights)} entries, the model {len(policy.heads)} heads", "give one per head"
        )
    return LanguageModel(policy, inputs.train, scheme, weights, inputs.base, world)


def make_tracker(
    config: TrainConfig, arguments: argparse.Namespace, fingerprint: str, world_size: int, events: Events
) -> Tracker:
    """MLflow, or nothing where MLFLOW_TRACKING_URI is unset."""
    from weighted_mtp.tracking import MlflowTracker, flatten

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        events.say("MLFLOW_TRACKING_URI is not set: training without a tracker")
        return _no_tracker()
    try:
        provenance = json.loads(os.environ.get("WMTP_PROVENANCE") or "{}")
    except ValueError as error:
        raise ConfigError(f"WMTP_PROVENANCE is not JSON: {error}", "unset it, or give a JSON object") from error
    tags = {f"wmtp.provenance.{key}": str(value) for key, value in flatten(provenance).items()}
    tags |= {f"tag.{tag.strip()}": "true" for tag in arguments.tags.split(",") if tag.strip()}
    tags |= {"wmtp.pipeline": config.pipeline, "wmtp.results_version": RESULTS_VERSION}
    params = flatten(config.model_dump(mode="json"))
    params |= {"effective_batch": config.effective_batch(world_size), "world_size": world_size}
    name = arguments.run_name or f"{config.pipeline}-{fingerprint[:8]}"
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"weighted-mtp/local/{config.pipeline}"
    return MlflowTracker(uri, experiment, fingerprint, name, params, tags)


def _no_tracker() -> Tracker:
    from weighted_mtp.tracking import Tracker

    return Tracker()


class Clock:
    """Where the time of a run goes; printed with --verbose."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._last = time.monotonic()
        self._laps: list[tuple[str, float]] = []

    def lap(self, name: str, parts: dict[str, float] | None = None) -> None:
        """What took the time since the last lap; `parts` of it count for themselves."""
        now = time.monotonic()
        parts = parts or {}
        self._laps += [(name, now - self._last - sum(parts.values())), *parts.items()]
        self._last = now

    def report(self) -> None:
        self._events.detail("seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in self._laps))

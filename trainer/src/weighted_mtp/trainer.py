"""The training loop, for every pipeline."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.checkpoint import Checkpoints, Progress
from weighted_mtp.config import TrainConfig
from weighted_mtp.curve import Curve
from weighted_mtp.data import Sample
from weighted_mtp.errors import NonFiniteLoss, Stopped
from weighted_mtp.events import Events
from weighted_mtp.model_io import replace_directory
from weighted_mtp.objectives import Objective
from weighted_mtp.optimizer import build_optimizer, clip_gradients, learning_rate
from weighted_mtp.packing import Plan, Row, collate, pack
from weighted_mtp.parallel import World
from weighted_mtp.tracking import Tracker

BEST = "checkpoint_best"
PROGRESS_SECONDS = 5.0
GRACE_SECONDS = 20.0  # what a run has between SIGTERM and SIGKILL; WMTP_GRACE_SECONDS says otherwise


@dataclass(frozen=True)
class Result:
    """What a completed run reports."""

    steps: int
    first_loss: float
    final_loss: float
    duration_seconds: float
    metrics: dict[str, float]


class Trainer:
    """Trains one objective over one plan, from wherever its output directory says it was."""

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        objective: Objective,
        samples: list[Sample],
        validation: list[Sample],
        output: Path,
        fingerprint: str,
        events: Events,
        tracker: Tracker,
        resumable: StopFlag,
    ) -> None:
        self.config = config
        self.world = world
        self.objective = objective
        self.samples = samples
        self.validation = validation
        self.output = output
        self.events = events
        self.tracker = tracker
        self.stop = resumable
        self.plan = make_plan(config, samples, world.size)
        self.optimizer = build_optimizer(objective.model, config.training)
        self.checkpoints = Checkpoints(output, world, config.checkpoint.keep_last, fingerprint)
        self.curve = Curve(output / "curve.jsonl", world.rank == 0)
        self.seconds: dict[str, float] = {}  # spent in validation and saving

    def resume(self) -> Progress:
        """Load the newest sound checkpoint, if there is one."""
        progress, skipped = self.checkpoints.load_newest(self.objective.model, self.optimizer)
        for text in skipped:
            self.events.say(f"skipped checkpoint {text}")
        return progress or Progress()

    def train(self, progress: Progress, logged_until: int) -> Result:
        """All remaining steps. `logged_until`: the last step that the tracker already has.

        Raises NonFiniteLoss, and Stopped on SIGTERM.
        """
        started, before = time.monotonic(), progress.seconds
        saved_at = progress.step if progress.step else -1
        for point in self.curve.open(progress.step):
            if point["step"] > logged_until:
                self._track(point)
        if progress.first_loss is None:
            first = self._validate(0)
            progress.first_loss = first["loss"]
            self.tracker.log((0, _now(), {f"validation/{key}": value for key, value in first.items()}))
        self.events.emit("phase", name="train")
        interval = self.config.checkpoint.save_interval
        metrics: dict[str, float] = {}
        meter = Meter(self.plan.steps, progress.step)
        while progress.step < self.plan.steps:
            progress.step += 1
            last = progress.step == self.plan.steps
            point, stop = self._step(progress.step, meter)
            meter.report(self.events, point, force=self._is_logged(progress.step))
            progress.seconds = before + time.monotonic() - started
            validated = progress.step % interval == 0 or last
            if validated:
                metrics = self._validate(progress.step)
                point["validation"] = metrics
            self.curve.add(point)
            self._track({**point, "tokens_per_second": meter.tokens_per_second()}, logged_until)
            if validated:
                self._keep_best(progress, metrics["loss"])
                self._save(progress)
                saved_at = progress.step
                meter.pause_ends()
                if not last:
                    self.events.emit("phase", name="train")
            if stop and not last:
                self._leave(progress, saved_at)
        if not metrics:  # resumed after the last step
            metrics = self._validate(progress.step)
        if self.config.checkpoint.save_final:
            self._export("final")
        self.curve.close()
        progress.seconds = before + time.monotonic() - started
        final = metrics["loss"]
        assert progress.first_loss is not None
        others = {key: value for key, value in metrics.items() if key != "loss"}
        return Result(progress.step, progress.first_loss, final, progress.seconds, others)

    def _step(self, step: int, meter: Meter) -> tuple[dict[str, Any], bool]:
        """One optimizer step -> its point of the curve, and whether some rank was told to stop."""
        training, world = self.config.training, self.world
        rows = self.plan.step(step)
        z = self.objective.normalisers(rows)
        sums: Tensor | None = None
        for micro in range(training.gradient_accumulation_steps):
            mine = Plan.micro_batch(rows, micro, world.rank, training.batch_size, world.size)
            batch = collate(mine, self.samples).to(world.device)
            part = self.objective.forward_backward(batch, z)
            sums = part if sums is None else sums + part
        assert sums is not None
        flag = torch.full((1,), float(self.stop.requested), dtype=torch.float64, device=world.device)
        everything = world.sum(torch.cat((sums, flag)))
        loss, heads, metrics = self.objective.metrics(everything[:-1].cpu())
        norm = clip_gradients(self.objective.model, training.max_grad_norm).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            parts = f", heads {heads}" if heads else ""
            raise NonFiniteLoss(
                f"step {step}: loss {loss}, gradient norm {norm}{parts}; no step was taken. Lower "
                "training.learning_rate or training.max_grad_norm, or compute in fp32"
            )
        rate = learning_rate(training, step, self.plan.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        meter.count(sum(self.samples[i].length for row in rows for i in row))
        point = {"step": step, "loss": loss, "heads": heads, "grad_norm": norm, "learning_rate": rate, **metrics}
        return point, bool(everything[-1] > 0)

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Announce what happens now, and add up how long it takes."""
        self.events.emit("phase", name=name)
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def _validate(self, step: int) -> dict[str, float]:
        """The objective's metrics on the fixed validation batch."""
        with self._phase("validate"):
            metrics = validate(self.objective, self.validation, self.config, self.world)
        if not math.isfinite(metrics["loss"]):
            raise NonFiniteLoss(f"after step {step}: validation loss {metrics['loss']}")
        self.events.say(f"step {step}: " + ", ".join(f"validation {k} {v:.4f}" for k, v in metrics.items()))
        return metrics

    def _keep_best(self, progress: Progress, loss: float) -> None:
        missing = self.world.rank == 0 and not (self.output / BEST).is_dir()
        absent = bool(self.world.sum(torch.tensor([float(missing)], device=self.world.device)).item())
        if absent or progress.best_loss is None or loss < progress.best_loss:
            self._export(BEST)
            progress.best_loss, progress.best_step = loss, progress.step

    def _export(self, name: str) -> None:
        with self._phase("save"):
            if self.world.rank == 0:
                replace_directory(self.output / name, self.objective.export)
            else:
                self.objective.export(self.output / name)

    def _save(self, progress: Progress) -> None:
        with self._phase("save"):
            self.curve.sync()
            self.checkpoints.save(self.objective.model, self.optimizer, progress)
        self.events.emit("checkpoint", step=progress.step)

    def _leave(self, progress: Progress, saved_at: int) -> None:
        """SIGTERM: save if that surely fits into the time that is left (judged by the last save), then go."""
        left = float(os.environ.get("WMTP_GRACE_SECONDS", GRACE_SECONDS)) - self.stop.seconds_ago()
        quick = self.checkpoints.seconds > 0 or parameter_bytes(self.objective.model) < 2**30
        fits = float(quick and 2 * self.checkpoints.seconds + 1 < left)
        agreed = self.world.sum(torch.tensor([fits], device=self.world.device)).item() == self.world.size
        if agreed and saved_at != progress.step:
            self._save(progress)
            saved_at = progress.step
        self.curve.close()
        raise Stopped(progress.step, saved_at == progress.step)

    def _is_logged(self, step: int) -> bool:
        interval, validated = self.config.training.log_interval, self.config.checkpoint.save_interval
        return step == 1 or step % interval == 0 or step % validated == 0 or step == self.plan.steps

    def _track(self, point: dict[str, Any], logged_until: int = 0) -> None:
        if point["step"] <= logged_until or not self._is_logged(point["step"]):
            return
        metrics = {key: value for key, value in point.items() if isinstance(value, float)}
        metrics |= {f"loss/head{k}": value for k, value in enumerate(point["heads"], 1)}
        metrics |= {f"validation/{key}": value for key, value in point.get("validation", {}).items()}
        self.tracker.log((point["step"], _now(), metrics))


class StopFlag:
    """SIGTERM. Before the loop it ends the process at once; in the loop it waits for the end of the step."""

    def __init__(self) -> None:
        self.requested = False
        self._at = 0.0
        self._immediate = True
        signal.signal(signal.SIGTERM, self._handle)

    def in_loop(self) -> None:
        self._immediate = False

    def seconds_ago(self) -> float:
        return time.monotonic() - self._at if self._at else 0.0

    def _handle(self, *_: object) -> None:
        self.requested, self._at = True, time.monotonic()
        if self._immediate:
            raise Stopped(0, saved=False)


class Meter:
    """Tokens per second and time left; says so at least every five seconds."""

    def __init__(self, steps: int, done: int) -> None:
        self._steps = steps
        self._started = self._reported = time.monotonic()
        self._first = done
        self._done = done
        self._tokens = 0
        self._busy = 0.0
        self._since = self._started

    def count(self, tokens: int) -> None:
        now = time.monotonic()
        self._done += 1
        self._tokens += tokens
        self._busy += now - self._since
        self._since = now

    def pause_ends(self) -> None:
        """Validation and saving are not training."""
        self._since = time.monotonic()

    def tokens_per_second(self) -> float:
        return self._tokens / self._busy if self._busy else 0.0

    def report(self, events: Events, point: dict[str, Any], force: bool) -> None:
        now = time.monotonic()
        if not force and now - self._reported < PROGRESS_SECONDS:
            return
        self._reported = now
        left = (self._steps - self._done) * (now - self._started) / (self._done - self._first)
        rate = self.tokens_per_second()
        events.emit(
            "progress", step=point["step"], steps=self._steps, loss=point["loss"],
            tokens_per_second=round(rate, 1), eta_seconds=round(left, 1),
        )  # fmt: skip
        events.detail(f"step {point['step']}/{self._steps}  loss {point['loss']:.4f}  {rate:.0f} tokens/s")


def make_plan(config: TrainConfig, samples: list[Sample], world_size: int) -> Plan:
    training = config.training
    return Plan(
        [sample.length for sample in samples],
        max_length=config.data.max_length,
        packing=config.data.packing,
        rows_per_step=config.effective_batch(world_size),
        epochs=training.epochs,
        max_steps=training.max_steps,
        seed=training.seed,
    )


def validate(objective: Objective, samples: list[Sample], config: TrainConfig, world: World) -> dict[str, float]:
    """The objective's metrics over some samples, the same for any number of ranks up to rounding."""
    lengths = [sample.length for sample in samples]
    rows = pack(list(range(len(samples))), lengths, config.data.max_length, config.data.packing)
    size = config.training.batch_size
    batches: list[list[Row]] = [rows[i : i + size] for i in range(0, len(rows), size)]
    total: Tensor | None = None
    for turn in range(0, len(batches), world.size):
        mine = batches[turn + world.rank] if turn + world.rank < len(batches) else [()]
        sums = objective.validation_sums(collate(mine, samples).to(world.device), samples)
        total = sums if total is None else total + sums
    assert total is not None
    return objective.validation_metrics(world.sum(total).cpu())


def parameter_bytes(model: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _now() -> int:
    return int(time.time() * 1000)

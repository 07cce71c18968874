"""`--dry-run`: resolve the configuration, check everything that the run would read, train nothing."""

from __future__ import annotations

import json
from pathlib import Path

from weighted_mtp.config import TrainConfig
from weighted_mtp.events import Events


def dry_run(config: TrainConfig, critic_checkpoint: Path | None, world_size: int, events: Events) -> int:
    """-> 0, or an InputError that names the first thing that is wrong."""
    events.say(json.dumps(config.model_dump(mode="json"), indent=2))
    batch, accumulation = config.training.batch_size, config.training.gradient_accumulation_steps
    events.say(
        f"effective batch: {config.effective_batch(world_size)} rows "
        f"({batch} x {accumulation} accumulation steps x {world_size} ranks)"
    )
    from weighted_mtp.inputs import read_inputs
    from weighted_mtp.trainer import make_plan

    inputs = read_inputs(config, critic_checkpoint)
    for line in inputs.summary:
        events.say(line)
    events.say(f"steps: {make_plan(config, inputs.train, world_size).steps}")
    events.say("dry run: everything that this run reads is there; nothing was trained")
    return 0

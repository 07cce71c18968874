"""Run by test_loss.py under torchrun: the sums and full gradients of one optimizer step, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

import tiny
from weighted_mtp import run
from weighted_mtp.events import Events
from weighted_mtp.inputs import read_inputs
from weighted_mtp.overrides import load_config
from weighted_mtp.packing import Plan, collate
from weighted_mtp.parallel import World
from weighted_mtp.trainer import make_plan


def main(out: Path, pipeline: str, overrides: list[str]) -> None:
    config = load_config(tiny.TRAINER / f"configs/{pipeline}/{pipeline}.yaml", overrides)
    inputs = read_inputs(config, None)
    world = World(config.distributed)
    scheme = run.make_scheme(config, inputs, world, Events(False))
    objective = run.make_objective(config, inputs, scheme, world)
    if pipeline == "critic":  # a head at zero has no gradient below it and says little
        with torch.no_grad():
            objective.model.value_head.linear.weight.to_local().fill_(0.3)
    rows = make_plan(config, inputs.train, world.size).step(1)
    z = objective.normalisers(rows)
    sums = 0
    for micro in range(config.training.gradient_accumulation_steps):
        mine = Plan.micro_batch(rows, micro, world.rank, config.training.batch_size, world.size)
        sums = sums + objective.forward_backward(collate(mine, inputs.train), z)
    world.sum(sums)
    gradients = {
        name: parameter.grad.full_tensor().tolist()
        for name, parameter in objective.model.named_parameters()
        if parameter.grad is not None
    }
    if world.rank == 0:
        out.write_text(json.dumps({"z": z, "sums": sums.tolist(), "gradients": gradients}))
    world.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])

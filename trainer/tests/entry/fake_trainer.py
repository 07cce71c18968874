"""Stands in for the trainer in the entry's tests: the same files in the same order, bytes instead of models.

    python fake_trainer.py --config run.yaml --steps 10 --interval 2 [--pause SECONDS] [--bytes N] [--fail-at STEP]

What a step's files hold depends on the step alone, so that a resumed run ends with the same files as another one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
import zlib
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--critic-checkpoint", type=Path)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--interval", type=int, default=2)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--bytes", type=int, default=1000)
parser.add_argument("--fail-at", type=int)
parser.add_argument("--deaf", action="store_true")
arguments = parser.parse_args()
config = json.loads(arguments.config.read_text())
output, scores = Path(config["paths"]["output"]), Path(config["paths"]["scores"])
KEEP_LAST = 2
fingerprint = os.environ["WMTP_FINGERPRINT"]


def say(event: str, **fields: object) -> None:
    print("[wmtp] " + json.dumps({"event": event, **fields}), flush=True)


def content(name: str) -> bytes:
    """Differs with the name in every part of it."""
    block = hashlib.sha256(name.encode()).digest()
    return (block * (arguments.bytes // len(block) + 1))[: arguments.bytes]


def write_json(path: Path, value: object) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def sound(step: int) -> bool:
    directory = output / f"checkpoints/step-{step:08d}"
    marker = json.loads((directory / "COMMITTED").read_text())
    assert marker["fingerprint"] == fingerprint
    return all(
        [len(data := (directory / name).read_bytes()), zlib.crc32(data)] == expected
        for name, expected in marker["files"].items()
    )


def save(step: int) -> None:
    directory = output / f"checkpoints/step-{step:08d}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    files = {}
    for name in ("__0_0.distcp", "__1_0.distcp", ".metadata"):
        data = content(f"{step} {name}")
        (directory / name).write_bytes(data)
        files[name] = [len(data), zlib.crc32(data)]
    write_json(directory / "COMMITTED", {"fingerprint": fingerprint, "world_size": 2, "progress": {"step": step},
                                         "files": files})  # fmt: skip
    for old in committed()[KEEP_LAST:]:
        shutil.rmtree(output / f"checkpoints/step-{old:08d}")
    say("checkpoint", step=step)


def committed() -> list[int]:
    return sorted((int(m.parent.name[5:]) for m in output.glob("checkpoints/step-*/COMMITTED")), reverse=True)


def export(step: int) -> None:
    """Two files that must never be of two steps."""
    new, old, best = output / "checkpoint_best.new", output / "checkpoint_best.old", output / "checkpoint_best"
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    new.mkdir()
    for name in ("model.safetensors", "params.json"):
        (new / name).write_bytes(content(f"best {step}") if name == "model.safetensors" else f"{step}".encode())
    if best.exists():
        best.rename(old)
    new.rename(best)
    shutil.rmtree(old, ignore_errors=True)


def stop(number: int, frame: object) -> None:
    if arguments.deaf:
        return
    save(step)
    say("exit", code=75, message="stopped", remedy="")
    sys.exit(75)


output.mkdir(parents=True, exist_ok=True)
(output / "run.lock").write_text("1")
if (output / "COMPLETED.json").exists():
    assert (output / "checkpoint_best").is_dir()
    say("completed", adopted=True)
    sys.exit(0)
if not (output / "run.json").exists():
    (output / "run.json").write_text(json.dumps({"fingerprint": fingerprint}))

record = json.loads((output / "run.json").read_text())
assert record["fingerprint"] == fingerprint
scores.mkdir(parents=True, exist_ok=True)
if not (scores / "critic-abc.safetensors").exists():
    (scores / "critic-abc.safetensors.1.tmp").write_bytes(b"x")
    (scores / "critic-abc.safetensors.1.tmp").rename(scores / "critic-abc.safetensors")
skipped = [step for step in committed() if not sound(step)]
assert not skipped, skipped
step = next(iter(committed()), 0)
curve = output / "curve.jsonl"
points = curve.read_text().splitlines()[:step] if curve.exists() else []
assert len(points) == step, f"the curve has {len(points)} points of {step}"
curve.write_text("".join(f"{point}\n" for point in points))
if step >= arguments.interval:
    assert (output / "checkpoint_best").is_dir(), "the best model is missing"
signal.signal(signal.SIGTERM, stop)
say("start", steps=arguments.steps, resumed_from=step or None)
while step < arguments.steps:
    time.sleep(arguments.pause)
    step += 1
    with curve.open("a") as file:
        file.write(json.dumps({"step": step}) + "\n")
    if step == arguments.fail_at:
        say("exit", code=1, message="broken", remedy="mend it")
        sys.exit(1)
    say("progress", step=step, steps=arguments.steps, loss=1 / step)
    if step % arguments.interval == 0 or step == arguments.steps:
        if step <= arguments.steps * 0.7:  # it gets worse in the end
            export(step)
        save(step)
write_json(output / "config.json", config)
write_json(output / "COMPLETED.json", {"fingerprint": fingerprint, "checkpoint": "checkpoint_best"})
say("completed", steps=step)

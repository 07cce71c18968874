"""The loss curves of small runs of all pipelines, committed. They change only together with RESULTS_VERSION.

fp32 and a relative tolerance of 1e-4, so that they hold on any CPU. To write them again after a change that is
meant:  python tests/test_golden_curve.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

import tiny
from weighted_mtp.config import PIPELINES
from weighted_mtp.curve import read_curve
from weighted_mtp.results_version import RESULTS_VERSION

GOLDEN = Path(__file__).with_name("golden_curves.json")
KEYS = ("step", "loss", "heads", "grad_norm")


def curves(root: Path) -> dict[str, list[dict]]:
    """Eight steps of every pipeline."""
    out = {}
    for pipeline in PIPELINES:
        critic = ["--critic-checkpoint", str(root / "out/critic/checkpoint_best")]
        run = tiny.train(root, pipeline, *(critic if pipeline == "verifiable" else []), training__max_steps=8)
        assert run.code == 0, run.stderr
        points = read_curve(root / "out" / pipeline / "curve.jsonl")
        out[pipeline] = [{key: point[key] for key in KEYS} for point in points]
        out[pipeline].append({"final_loss": run.one("completed")["final_loss"]})
    return out


@pytest.mark.slow
def test_curves_are_those_of_this_results_version(run_root: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["results_version"] == RESULTS_VERSION, (
        "RESULTS_VERSION was changed: write the curves again with `python tests/test_golden_curve.py`"
    )
    for pipeline, points in curves(run_root).items():
        for got, expected in zip(points, golden["curves"][pipeline], strict=True):
            for key, value in expected.items():
                assert got[key] == pytest.approx(value, rel=1e-4), (
                    f"{pipeline}, {got}: {key} was {value}. The numerics of the trainer changed. If that is meant, "
                    "raise RESULTS_VERSION in weighted_mtp/results_version.py (all runs will train again), then run "
                    "`python -m weighted_mtp schema --write schema.json` and `python tests/test_golden_curve.py`; "
                    "if not, find out what changed them."
                )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        content = {"results_version": RESULTS_VERSION, "curves": curves(tiny.make_workspace(Path(directory)))}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
    sys.stdout.write(f"wrote {GOLDEN}\n")

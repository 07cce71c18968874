"""`schema.json`: what the stack program needs to resolve and check a configuration without Python."""

from __future__ import annotations

import json
import os
from pathlib import Path

from weighted_mtp.config import PIPELINES, TrainConfig
from weighted_mtp.overrides import load_config
from weighted_mtp.results_version import RESULTS_VERSION


def configs_directory() -> Path:
    """`trainer/configs`, beside `src`; WMTP_CONFIGS names another place."""
    return Path(os.environ.get("WMTP_CONFIGS") or Path(__file__).resolve().parents[2] / "configs")


def render() -> str:
    """The text of `trainer/schema.json`; a test holds the committed file in step."""
    configs = configs_directory()
    content = {
        "results_version": RESULTS_VERSION,
        "json_schema": TrainConfig.model_json_schema(),
        "pipelines": {p: load_config(configs / p / f"{p}.yaml", pipeline=p).model_dump(mode="json") for p in PIPELINES},
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

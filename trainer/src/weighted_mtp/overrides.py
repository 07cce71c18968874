"""Read a configuration file, apply `--override key.path=value`, and say clearly what is wrong with either."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from weighted_mtp.config import TrainConfig
from weighted_mtp.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """PyYAML reads 1e-4 as a string (YAML 1.1 wants 1.0e-4); people write 1e-4 and mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def known_keys(model: type[BaseModel] = TrainConfig, prefix: str = "") -> list[str]:
    """All leaf keys with dots, in the order of the classes."""
    keys = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def nearest_key(key: str) -> str:
    """The real key that looks most like `key`; the last part counts for itself, so `batch_sise` finds
    `training.batch_size`."""
    keys = known_keys()

    def similarity(candidate: str) -> float:
        whole = difflib.SequenceMatcher(None, key, candidate).ratio()
        last = difflib.SequenceMatcher(None, key.split(".")[-1], candidate.split(".")[-1]).ratio()
        return max(whole, 0.95 * last)

    return max(keys, key=similarity)


def parse_override(text: str) -> tuple[list[str], Any]:
    """`training.batch_size=8` -> (["training", "batch_size"], 8). The value is YAML."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"override {text!r} is not key.path=value", "write it as training.batch_size=8")
    if key not in known_keys():
        raise ConfigError(f"override {key!r} is not a key of the trainer", f"did you mean {nearest_key(key)!r}?")
    if key == "pipeline":
        raise ConfigError("the pipeline cannot be overridden", "start the entry point of the other pipeline")
    try:
        return key.split("."), yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of override {key!r} is not YAML: {value!r}", str(error)) from error


def load_config(path: str | Path, overrides: list[str] | None = None, pipeline: str | None = None) -> TrainConfig:
    """The resolved configuration of one run.

    Raises ConfigError naming the file and every wrong key at once: an unknown one with the nearest real key, a
    wrong type with what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error.strerror}", "give an existing file to --config"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}", "mend the file") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping", "see configs/ for examples")
    for text in overrides or []:
        keys, value = parse_override(text)
        section = content
        for key in keys[:-1]:
            if not isinstance(section.get(key), dict):
                section[key] = {}
            section = section[key]
        section[keys[-1]] = value
    config = validate(content, str(path))
    if pipeline is not None and config.pipeline != pipeline:
        raise ConfigError(
            f"{path} is for pipeline {config.pipeline}, but {pipeline} was started",
            f"give configs/{pipeline}/{pipeline}.yaml to --config",
        )
    return config


def validate(content: dict[str, Any], source: str) -> TrainConfig:
    """`content` as a TrainConfig, or a ConfigError that lists every problem."""
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors()]
    cause = f"{source} with its overrides is not a valid configuration:\n" + "\n".join(f"  - {p}" for p in problems)
    raise ConfigError(cause, "correct the keys above; all keys and defaults: python -m weighted_mtp schema")


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; did you mean {nearest_key(key)!r}?"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("missing", "value_error"):
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {problem['input']!r}"

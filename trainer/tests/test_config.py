"""Configuration: every mistake is one readable error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from weighted_mtp.config import PIPELINES, TrainConfig
from weighted_mtp.errors import ConfigError
from weighted_mtp.overrides import known_keys, load_config
from weighted_mtp.schema import render

TRAINER = Path(__file__).resolve().parents[1]
NTP = TRAINER / "configs/ntp/ntp.yaml"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.batch_sise=8", "did you mean 'training.batch_size'"),
        ("batch_size=8", "did you mean 'training.batch_size'"),
        ("weighting.lambda=1", "did you mean 'weighting.lam'"),
        ("training.batch_size=-1", "training.batch_size: Input should be greater than or equal to 1, got -1"),
        ("training.batch_size=eight", "training.batch_size: Input should be a valid integer, got 'eight'"),
        ('training.batch_size="8"', "training.batch_size: Input should be a valid integer, got '8'"),
        ("training.batch_size=8.5", "training.batch_size: Input should be a valid integer"),
        ("training.batch_size=true", "training.batch_size: Input should be a valid integer"),
        ("training.batch_size", "is not key.path=value"),
        ("training.batch_size=[", "is not YAML"),
        ("training.optimizer=sgd", "training.optimizer: Input should be 'adamw', got 'sgd'"),
        ("distributed.backend=mpi", "distributed.backend: Input should be 'nccl' or 'gloo', got 'mpi'"),
        ("weighting.min_weight=5", "min_weight 5.0 is above max_weight 3.0"),
        ("weighting.scheme=rho1", "weighting.scheme rho1 belongs to pipeline rho1, not ntp"),
        ("loss.head_weights=[1, 1]", "2 entries for loss.heads 1"),
        ("models.base=/etc/passwd", "models.base: String should match pattern"),
        ("data.train=../secret.jsonl", "data.train: String should match pattern"),
        ("pipeline=critic", "cannot be overridden"),
    ],
)
def test_bad_override(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(NTP, [override])
    assert expected in str(error.value)


def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("pipeline: ntp\ntraining: {batch_size: 0, epocs: 3}\nlos: {heads: 1}\n")
    with pytest.raises(ConfigError) as error:
        load_config(file)
    text = str(error.value)
    assert "training.batch_size" in text
    assert "training.epocs: unknown key; did you mean 'training.epochs'?" in text
    assert "los: unknown key" in text


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds no mapping"):
        load_config(tmp_path / "list.yaml")
    with pytest.raises(ConfigError, match="is for pipeline ntp, but rho1 was started"):
        load_config(NTP, pipeline="rho1")


def test_override_values_are_yaml() -> None:
    config = load_config(NTP, ["training.learning_rate=1e-4", "training.max_steps=null", "data.packing=false"])
    assert config.training.learning_rate == 1e-4
    assert config.training.max_steps is None
    assert config.data.packing is False
    assert config.effective_batch(4) == 6 * 4 * 4


def test_pipeline_files_hold_only_known_keys_and_resolve() -> None:
    for pipeline in PIPELINES:
        config = load_config(TRAINER / f"configs/{pipeline}/{pipeline}.yaml", pipeline=pipeline)
        assert config.paths.output == f"/app/checkpoints/{pipeline}"
        assert TrainConfig.model_validate(config.model_dump()) == config
    assert "distributed.activation_checkpointing" in known_keys()


def test_paths_are_not_part_of_the_identity() -> None:
    a = load_config(NTP)
    assert a.own_fingerprint(1) == load_config(NTP, ["paths.output=/elsewhere"]).own_fingerprint(1)
    assert a.own_fingerprint(1) != a.own_fingerprint(2)
    assert a.own_fingerprint(1) != load_config(NTP, ["training.seed=1"]).own_fingerprint(1)


def test_schema_json_is_in_step() -> None:
    assert (TRAINER / "schema.json").read_text() == render(), (
        "trainer/schema.json is old: run `python -m weighted_mtp schema --write trainer/schema.json`"
    )
    content = json.loads(render())
    assert set(content["pipelines"]) == set(PIPELINES)
    assert yaml.safe_load((TRAINER / "configs/rho1/rho1.yaml").read_text())["weighting"]["top_k"] == 0.6

"""MLflow: one run per fingerprint, every step once, and clear errors; against a client that remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny
from weighted_mtp.errors import TrackerError
from weighted_mtp.tracking import FINGERPRINT_TAG, MlflowTracker, flatten


class Server:
    """What an MLflow server would have stored, with the part of MlflowClient's interface that is used."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, SimpleNamespace] = {}
        self.failing: Exception | None = None

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        if self.failing:
            raise self.failing
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments) + 1))

    def search_runs(self, experiments: list[str], query: str, max_results: int) -> list[SimpleNamespace]:
        return [
            r for r in self.runs.values() if f"'{r.tags[FINGERPRINT_TAG]}'" in query and r.experiment in experiments
        ]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> SimpleNamespace:
        name = f"run{len(self.runs) + 1}"
        self.runs[name] = run = SimpleNamespace(
            info=SimpleNamespace(run_id=name), experiment=experiment, tags=tags, metrics=[], params={}, files=[],
            status="RUNNING", requests=0,
        )  # fmt: skip
        return run

    def update_run(self, run: str, status: str) -> None:
        self.runs[run].status = status

    set_terminated = update_run

    def log_batch(self, run: str, metrics: list = (), params: list = ()) -> None:
        if self.failing:
            raise self.failing
        self.runs[run].requests += 1
        self.runs[run].metrics += [(m.key, m.step, m.value) for m in metrics]
        self.runs[run].params |= {p.key: p.value for p in params}

    def get_metric_history(self, run: str, key: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(step=step) for k, step, _ in self.runs[run].metrics if k == key]

    def log_artifact(self, run: str, path: str) -> None:
        self.runs[run].files.append(Path(path).name)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    import mlflow

    server = Server()
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: server)
    return server


def connect(fingerprint: str = "f1") -> MlflowTracker:
    return MlflowTracker("http://tracker", "team/ntp", fingerprint, "ntp", {"a": 1}, {"wmtp.pipeline": "ntp"})


def test_a_run_is_found_again_and_no_step_is_logged_twice(server: Server) -> None:
    first = connect()
    assert first.ready() == -1
    for step in range(4):
        first.log((step, 0, {"loss": float(step)}))
    first.finish("KILLED", {}, [])
    again = connect()
    assert again.ready() == 3
    assert again.run_id == first.run_id
    for step in range(2, 6):
        again.log((step, 0, {"loss": float(step)}))
    again.finish("FINISHED", {"final/loss": 0.5}, [Path("curve.jsonl")])
    (run,) = server.runs.values()
    assert [step for key, step, _ in run.metrics if key == "loss"] == [0, 1, 2, 3, 4, 5]
    assert run.status == "FINISHED"
    assert run.files == ["curve.jsonl"]
    assert run.params == {"a": "1"}
    other = connect("f2")
    other.ready()
    assert other.run_id != first.run_id
    assert other.experiment_id == first.experiment_id


def test_errors_name_the_tracker_and_what_to_do(server: Server) -> None:
    server.failing = RuntimeError("API request failed with 401")
    with pytest.raises(TrackerError, match=r"http://tracker failed.*(\n.*)*MLFLOW_TRACKING_PASSWORD"):
        connect().ready()
    server.failing = None
    tracker = connect()
    tracker.ready()
    server.failing = ConnectionError("refused")
    tracker.log((1, 0, {"loss": 1.0}))
    with pytest.raises(TrackerError, match="refused"):
        tracker.finish("FINISHED", {}, [])


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


@pytest.mark.slow
def test_an_unreachable_tracker_ends_a_run_before_it_trains(run_root: Path) -> None:
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    run = tiny.train(run_root, "ntp", env=env)
    assert run.code == 2, run.stderr
    assert "http://127.0.0.1:9 failed" in run.stderr
    assert not run.all("start")
    assert json.loads(json.dumps(run.one("exit")))["code"] == 2

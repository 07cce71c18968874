"""MLflow, on rank 0 alone and in a thread of its own: importing it and talking to the server do not stop training.

A run is found again by its fingerprint (a tag), so that a resumed run goes on in the same place; points that are
already there are not logged again.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weighted_mtp.errors import TrackerError

FINGERPRINT_TAG = "wmtp.fingerprint"
PARAMETERS_PER_BATCH = 100
METRICS_PER_BATCH = 1000

Point = tuple[int, int, dict[str, float]]  # step, milliseconds since 1970, metrics


class Tracker:
    """The interface, and what is used without MLFLOW_TRACKING_URI: nothing is recorded."""

    run_id: str | None = None
    experiment_id: str | None = None

    def ready(self) -> int:
        """Wait until the run exists -> the last step that it already has (-1: none). Raises TrackerError."""
        return -1

    def log(self, point: Point) -> None:
        """Hand over one step's metrics; returns at once."""

    def finish(self, status: str, metrics: dict[str, float], artifacts: Iterable[Path]) -> None:
        """Send everything that is left, upload files, set the run's status. Raises TrackerError."""


class MlflowTracker(Tracker):
    """Starts connecting when it is made."""

    def __init__(
        self, uri: str, experiment: str, fingerprint: str, name: str, params: dict[str, Any], tags: dict[str, str]
    ):
        self._uri = uri
        self._experiment = experiment
        self._fingerprint = fingerprint
        self._name = name
        self._params = params
        self._tags = tags
        self._queue: queue.Queue[Point | None] = queue.Queue()
        self._connected = threading.Event()
        self._error: Exception | None = None
        self._last_step = -1
        self._client: Any = None
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def ready(self) -> int:
        self._connected.wait()
        self._raise()
        return self._last_step

    def log(self, point: Point) -> None:
        self._queue.put(point)

    def finish(self, status: str, metrics: dict[str, float], artifacts: Iterable[Path]) -> None:
        self._queue.put(None)
        self._thread.join()
        self._raise()
        try:
            for path in artifacts:
                self._client.log_artifact(self.run_id, str(path))
            if metrics:
                self._send([(0, _now(), metrics)], summary=True)
            self._client.set_terminated(self.run_id, status)
        except Exception as error:
            raise self._explain(error) from error

    def _work(self) -> None:
        try:
            self._connect()
        except Exception as error:
            self._error = error
            return
        finally:
            self._connected.set()
        stop = False
        while not stop:
            points = [self._queue.get()]
            while not self._queue.empty():
                points.append(self._queue.get())
            stop = None in points
            try:
                if self._error is None:
                    self._send([point for point in points if point is not None])
            except Exception as error:
                self._error = error  # reported by finish(); the curve has the points, a later attempt sends them

    def _connect(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        from mlflow import MlflowClient

        self._client = client = MlflowClient(self._uri)
        found = client.get_experiment_by_name(self._experiment)
        self.experiment_id = found.experiment_id if found else self._create_experiment()
        query = f"tags.`{FINGERPRINT_TAG}` = '{self._fingerprint}'"
        runs = client.search_runs([self.experiment_id], query, max_results=1)
        if runs:
            self.run_id = runs[0].info.run_id
            client.update_run(self.run_id, status="RUNNING")
            for key in ("validation/loss", "loss"):  # step 0 has the first alone
                history = client.get_metric_history(self.run_id, key)
                self._last_step = max([self._last_step, *(metric.step for metric in history)])
            return
        tags = {FINGERPRINT_TAG: self._fingerprint, **self._tags}
        self.run_id = client.create_run(self.experiment_id, tags=tags, run_name=self._name).info.run_id
        from mlflow.entities import Param

        params = [Param(key, str(value)[:6000]) for key, value in self._params.items()]
        for i in range(0, len(params), PARAMETERS_PER_BATCH):
            client.log_batch(self.run_id, params=params[i : i + PARAMETERS_PER_BATCH])

    def _create_experiment(self) -> str:
        try:
            return self._client.create_experiment(self._experiment)
        except Exception:  # another run made it in the meantime
            found = self._client.get_experiment_by_name(self._experiment)
            if found is None:
                raise
            return found.experiment_id

    def _send(self, points: list[Point], summary: bool = False) -> None:
        """A step's metrics go in one request: it is there as a whole or not at all."""
        from mlflow.entities import Metric

        batch: list[Any] = []
        for step, milliseconds, metrics in points:
            if step <= self._last_step and not summary:
                continue
            entries = [Metric(key, float(value), milliseconds, step) for key, value in metrics.items()]
            if len(batch) + len(entries) > METRICS_PER_BATCH:
                self._client.log_batch(self.run_id, metrics=batch)
                batch = []
            batch += entries
        if batch:
            self._client.log_batch(self.run_id, metrics=batch)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._explain(self._error) from self._error

    def _explain(self, error: Exception) -> TrackerError:
        text = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        if "401" in text or "403" in text or "UNAUTHENTICATED" in text or "PERMISSION_DENIED" in text:
            remedy = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        elif "certificate" in text.lower() or "SSL" in text:
            remedy = "point REQUESTS_CA_BUNDLE to the authority that signed the tracker's certificate"
        else:
            remedy = f"check that {self._uri} answers (/health); finished steps are kept and sent by the next attempt"
        return TrackerError(f"the MLflow server {self._uri} failed: {type(error).__name__}: {text}", remedy)


def _now() -> int:
    import time

    return int(time.time() * 1000)


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> dotted keys."""
    out: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            out.update(flatten(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out

"""A run as the trainer's MLflow client does it: its server and user come from MLflow's own variables.

client.py log EXPERIMENT   a run with metrics and an artifact; prints its id
client.py runs EXPERIMENT  the ids and last losses of all runs, as JSON
client.py delete RUN       tries to delete it; prints what the server said
"""

import json
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

client = MlflowClient()


def log(experiment: str) -> None:
    found = client.get_experiment_by_name(experiment)
    run = client.create_run(found.experiment_id if found else client.create_experiment(experiment), run_name="a run")
    client.log_batch(run.info.run_id, metrics=[Metric("loss", 1.0 / (i + 1), i, i) for i in range(50)])
    client.set_tag(run.info.run_id, "purpose", "test")
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder, "weights with space.txt")
        artifact.write_text("weights" * 500_000)
        client.log_artifact(run.info.run_id, str(artifact))
    client.set_terminated(run.info.run_id)
    print(run.info.run_id)


def runs(experiment: str) -> None:
    found = client.get_experiment_by_name(experiment)
    all_runs = client.search_runs([found.experiment_id]) if found else []
    print(json.dumps({run.info.run_id: run.data.metrics.get("loss") for run in all_runs}))


def delete(run: str) -> None:
    try:
        client.delete_run(run)
        print("deleted")
    except Exception as error:
        print(str(error)[:200])


if __name__ == "__main__":
    {"log": log, "runs": runs, "delete": delete}[sys.argv[1]](sys.argv[2])

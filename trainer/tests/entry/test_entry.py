"""The whole entry point, as the container starts it: real processes, a real S3 server, a stand-in for the trainer."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from entry_process import FAKE, FINGERPRINT, PLANTED, SOURCE, Run
from storage import BUCKET, Fault, Storage


@pytest.fixture
def start(storage: Storage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(
        *fake: str, app: str = "app", arguments: list[str] | None = None, env: dict[str, str | None] | None = None,
        command: list[str] | None = None,
    ) -> Run:  # fmt: skip
        home = (tmp_path / app).resolve()
        output = home / "checkpoints/ntp"
        config = {
            "pipeline": "ntp",
            "paths": {"models": f"{home}/models", "datasets": f"{home}/datasets", "output": f"{output}",
                      "scores": f"{output}/scores"},
        }  # fmt: skip
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "WMTP_CONFIG": json.dumps(config),
            "WMTP_FINGERPRINT": FINGERPRINT, "WMTP_STORE_PATIENCE_SECONDS": "30", "PYTHONUNBUFFERED": "1",
            **storage.env, **PLANTED, **(env or {}),
        }  # fmt: skip
        uri = f"s3://{BUCKET}/{request.node.name}/{FINGERPRINT}"
        run = Run(
            home,
            arguments if arguments is not None else ["--checkpoints", uri],
            {name: value for name, value in environment.items() if value is not None},
            command or [sys.executable, str(FAKE), "--config", "run.yaml", *fake],
        )
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.kill()


def stored(storage: Storage, request: pytest.FixtureRequest) -> dict[str, bytes]:
    return storage.files(f"{request.node.name}/{FINGERPRINT}")


def on_disk(app: Path) -> dict[str, bytes]:
    output = app / "checkpoints/ntp"
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    files.pop("run.lock", None)
    return files


def assert_equal(storage: Storage, request: pytest.FixtureRequest, run: Run) -> None:
    bucket = stored(storage, request)
    assert bucket.pop("checkpoint_best.files.json")
    assert bucket == on_disk(run.app)


def test_a_run_from_its_inputs_to_its_marker(
    storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    storage.put(f"{name}/models/tiny", {"params.json": b"{}", "deep/model.safetensors": b"x" * 100_000})
    storage.put(f"{name}/critic", {"head.safetensors": b"h"})
    run = start(
        "--critic-checkpoint", "critic",
        arguments=[
            "--fetch", f"s3://{BUCKET}/{name}/models/tiny=models/tiny", "--fetch", f"s3://{BUCKET}/{name}/critic=critic",
            "--checkpoints", f"s3://{BUCKET}/{name}/{FINGERPRINT}/", "--max-duration", "100",
        ],
        env={"WMTP_TRACKER_CA": "-----BEGIN CERTIFICATE-----\n"},
    )  # fmt: skip
    assert run.ends() == 0, run.output
    assert (run.app / "models/tiny/deep/model.safetensors").stat().st_size == 100_000
    assert (run.app / "critic/head.safetensors").read_bytes() == b"h"
    assert (run.app / "tracker-ca.pem").read_text() == "-----BEGIN CERTIFICATE-----\n"
    assert [event["event"] for event in run.events][:3] == ["phase", "phase", "start"]
    assert run.events[-1]["event"] == "completed"  # the last word is the trainer's
    assert_equal(storage, request, run)
    bucket = stored(storage, request)
    assert {name.split("/")[1] for name in bucket if name.startswith("checkpoints/")} == {
        "step-00000008", "step-00000010",
    }  # fmt: skip
    assert bucket["checkpoint_best/params.json"] == b"6"

    again = start(app="second")
    assert again.ends() == 0, again.output
    assert again.last("completed")["adopted"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_it_resumes_and_ends_equal(
    storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest, seed: int
) -> None:
    """kill -9 of everything, then another machine with an empty disk. The stand-in refuses what is not sound."""
    chance = random.Random(seed)
    storage.seconds = 0.01
    options = ("--pause", "0.15", "--bytes", "500000")
    resumed = []
    for number in range(4):
        run = start(*options, app=f"machine-{number}")
        time.sleep(chance.uniform(0.5, 4.0))
        run.kill()
        resumed += [event["resumed_from"] or 0 for event in run.events if event["event"] == "start"]
    run = start(*options, app="last")
    assert run.ends() == 0, run.output
    assert [*resumed] == sorted(resumed)  # nothing that was safe is lost
    assert_equal(storage, request, run)
    assert stored(storage, request)["checkpoint_best/params.json"] == b"6"


def test_sigterm_saves_and_uploads(storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest) -> None:
    run = start("--pause", "0.1", "--steps", "1000", "--interval", "1000")
    run.says('"step": 3,')
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 75
    assert run.last("exit")["code"] == 75
    assert stored(storage, request) == on_disk(run.app)
    step = run.last("checkpoint")["step"]
    assert step >= 3
    again = start("--pause", "0.1", "--steps", "1000", "--interval", "1000", app="second")
    again.says(f'"resumed_from": {step}')


def test_sigterm_before_the_training_ends_it_at_once(storage: Storage, start: Callable[..., Run]) -> None:
    storage.put("slow-model", {str(number): b"x" for number in range(200)})
    run = start(arguments=[
        "--fetch", f"s3://{BUCKET}/slow-model=models/slow", "--checkpoints", f"s3://{BUCKET}/never/{FINGERPRINT}",
    ])  # fmt: skip
    storage.requests.clear()
    storage.seconds = 1.0
    run.until(lambda: any("slow-model" in request for request in storage.requests))
    began = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 76
    assert time.monotonic() - began < 3
    assert run.last("exit") == {
        "event": "exit", "code": 76, "message": "stopped by SIGTERM before the training",
        "remedy": "start again to resume",
    }  # fmt: skip


def test_the_deadline_stops_it_with_what_it_has(
    storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest
) -> None:
    uri = f"s3://{BUCKET}/{request.node.name}/{FINGERPRINT}"
    run = start("--pause", "0.1", "--steps", "1000", arguments=["--checkpoints", uri, "--max-duration", "2"])
    assert run.ends() == 1
    names = [event["event"] for event in run.events]
    assert run.last("deadline") == {"event": "deadline", "seconds": 2}
    assert names.index("deadline") < names.index("exit")
    assert run.last("exit")["code"] == 1
    assert any(name.endswith("/COMMITTED") for name in stored(storage, request))
    assert "COMPLETED.json" not in stored(storage, request)


def test_the_deadline_counts_while_inputs_are_fetched(storage: Storage, start: Callable[..., Run]) -> None:
    storage.put("long-model", {str(number): b"x" for number in range(400)})
    storage.seconds = 0.3
    run = start(arguments=[
        "--fetch", f"s3://{BUCKET}/long-model=models/long", "--checkpoints", f"s3://{BUCKET}/never2/{FINGERPRINT}",
        "--max-duration", "2",
    ])  # fmt: skip
    assert run.ends() == 1
    assert run.last("deadline")["seconds"] == 2
    assert not [event for event in run.events if event["event"] == "start"]


def test_a_command_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from weighted_mtp.entry import child
    from weighted_mtp.events import Events

    monkeypatch.setattr(child, "KILL_SECONDS", 0.5)
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        code = child.train(
            [sys.executable, "-c", ignore], dict(os.environ), child.Deadline(1, Events(False)), child.Signals()
        )
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    assert code == 128 + signal.SIGKILL


def test_its_exit_code_is_the_trainers(
    storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest
) -> None:
    run = start("--fail-at", "5")
    assert run.ends() == 1
    assert run.events[-1] == {"event": "exit", "code": 1, "message": "broken", "remedy": "mend it"}
    assert "COMPLETED.json" not in stored(storage, request)
    assert_equal(storage, request, run)
    killed = start(app="killed", command=["sh", "-c", "kill -9 $$"])
    assert killed.ends() == 128 + 9


def test_nothing_outlives_the_entry(start: Callable[..., Run]) -> None:
    run = start("--pause", "0.1", "--steps", "1000")
    run.says('"step": 1,')
    (child,) = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_storms_are_sat_out(storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest) -> None:
    storage.put(f"{request.node.name}/model", {"x": b"1" * 1000})
    storage.faults = [
        Fault("GET .*list-type", 3), Fault("GET .*/model/x", 6), Fault("PUT .*step-", 12), Fault("PUT .*COMPLETED", 5),
        Fault("POST .*delete", 3),
    ]  # fmt: skip
    uri = f"s3://{BUCKET}/{request.node.name}"
    run = start(
        "--pause", "0.3",
        arguments=["--fetch", f"{uri}/model=models/x", "--checkpoints", f"{uri}/{FINGERPRINT}"],
    )  # fmt: skip
    assert run.ends() == 0, run.output
    assert [fault.times for fault in storage.faults] == [0] * 5
    assert_equal(storage, request, run)


@pytest.mark.parametrize(
    ("fault", "code", "message", "fake"),
    [
        (Fault("PUT .*step-", 10**6), 75, "the checkpoints are not uploaded: cannot write .*SlowDown", ()),
        (Fault("PUT .*step-", 10**6, 403, "AccessDenied"), 2, "the checkpoints are not uploaded: S3 refuses", ()),
        (Fault("PUT .*step-", 10**6), 1, "broken", ("--fail-at", "5")),  # its own failure counts for more
        (Fault("PUT .*COMPLETED", 10**6), 75, "the checkpoints are not uploaded: cannot write", ()),
    ],
    ids=["unavailable", "refused", "failed", "marker"],
)
def test_an_upload_that_never_succeeds_fails_the_run_not_the_training(
    storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest, fault: Fault, code: int, message: str,
    fake: tuple[str, ...],
) -> None:  # fmt: skip
    storage.faults = [fault]
    run = start("--pause", "0.2", *fake, env={"WMTP_STORE_PATIENCE_SECONDS": "2"})
    assert run.ends() == code, run.output
    assert re.match(message, run.last("exit")["message"]), run.output
    assert run.last("exit")["code"] == code
    assert run.last("exit")["remedy"]
    if "COMPLETED" not in fault.pattern:
        assert re.search(r"^warning: .*training goes on, and the upload is tried again$", run.output, re.M)
        assert re.match("cannot write .*SlowDown|S3 refuses", run.last("upload_failing")["message"])
        assert '"upload_ok"' not in run.output
    assert run.last("progress")["step"] == (4 if fake else 10)
    assert "COMPLETED.json" not in stored(storage, request)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, 2, "no AWS credentials to reach s3://"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, 2, "no AWS credentials to reach s3://"),
        ({"AWS_SECRET_ACCESS_KEY": "planted-wrong-secret"}, 2, "S3 does not know the run's AWS credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 75, "cannot list .*no answer"),
        ({"WMTP_CONFIG": ""}, 2, "WMTP_CONFIG is not set"),
        ({"WMTP_CONFIG": "{"}, 2, "WMTP_CONFIG is not JSON"),
        ({"WMTP_CONFIG": '{"pipeline": "ntp", "trainig": {}}'}, 2, "(?s)WMTP_CONFIG .*did you mean"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_a_remedy(
    start: Callable[..., Run], change: dict[str, str | None], code: int, message: str
) -> None:
    run = start(env={**change, "WMTP_STORE_PATIENCE_SECONDS": "1"})
    assert run.ends() == code, run.output
    assert re.search(message, run.last("exit")["message"]), run.output
    assert run.last("exit")["code"] == code
    assert run.last("exit")["remedy"]
    assert "planted-wrong-secret" not in run.output
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--checkpoints"),
        (["--checkpoints", f"s3://{BUCKET}/x", "--max-duration", "0"], "--max-duration must be above 0"),
        (["--checkpoints", f"s3://{BUCKET}/x", "--what"], "unrecognized arguments: --what"),
        (["--checkpoints", f"s3://{BUCKET}/x", "--fetch", f"s3://{BUCKET}/y=/etc"], "--fetch would write to /etc"),
        (["--checkpoints", f"s3://{BUCKET}/x", "--fetch", f"s3://{BUCKET}/y=models/y"], "model 'y' is not in the"),
    ],
)  # fmt: skip
def test_a_wrong_command_line(start: Callable[..., Run], arguments: list[str], message: str) -> None:
    run = start(arguments=arguments)
    assert run.ends() == 2, run.output
    assert message in run.last("exit")["message"]


def test_a_command_that_is_not_there(start: Callable[..., Run]) -> None:
    run = start(command=["no-such-program"])
    assert run.ends() == 2
    assert run.last("exit")["message"] == "cannot start no-such-program: No such file or directory"


def test_directories_of_this_machine_are_places_too(start: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a b#.txt").write_text("x")
    run = start(arguments=["--fetch", f"file://{tmp_path}/source=models/m", "--checkpoints", f"file://{tmp_path}/kept"])
    assert run.ends() == 0, run.output
    assert (run.app / "models/m/a b#.txt").read_text() == "x"
    assert json.loads((tmp_path / "kept/COMPLETED.json").read_text())["fingerprint"] == FINGERPRINT
    shutil.rmtree(run.app)
    again = start(arguments=["--checkpoints", f"file://{tmp_path}/kept"])
    assert again.ends() == 0
    assert again.last("completed")["adopted"]


def test_nothing_heavy_is_imported() -> None:
    """A container that waits for imports before its first byte is paid for too."""
    code = "import sys, weighted_mtp.entry.cli, obstore.store; print({'torch', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.slow
def test_the_trainer_itself_resumes_on_another_machine(
    storage: Storage, start: Callable[..., Run], request: pytest.FixtureRequest, workspace: Path, tmp_path: Path
) -> None:
    """torchrun with two ranks, the power cut in the middle, then an empty disk: the same weights as undisturbed."""
    files = [path for kind in ("models", "datasets") for path in workspace.glob(f"{kind}/*/**/*") if path.is_file()]
    storage.put(request.node.name, {path.relative_to(workspace).as_posix(): path.read_bytes() for path in files})
    base = f"s3://{BUCKET}/{request.node.name}"

    def begin(app: str, checkpoints: str) -> Run:
        home = tmp_path / app
        config = {
            "pipeline": "ntp", "models": {"base": "tiny"},
            "data": {"train": "toy/processed/train.jsonl", "valid": "toy/processed/valid.jsonl", "max_length": 128},
            "training": {"batch_size": 1, "gradient_accumulation_steps": 2, "epochs": 4, "learning_rate": 0.003},
            "checkpoint": {"save_interval": 4},
            "distributed": {"backend": "gloo", "compute_backend": "cpu", "mixed_precision": "fp32"},
            "paths": {"models": f"{home}/models", "datasets": f"{home}/datasets", "output": f"{home}/checkpoints/ntp",
                      "scores": f"{home}/checkpoints/ntp/scores"},
        }  # fmt: skip
        return start(
            app=app,
            arguments=["--fetch", f"{base}/models/tiny=models/tiny", "--fetch", f"{base}/datasets/toy=datasets/toy",
                       "--checkpoints", f"{base}/{checkpoints}"],
            env={"WMTP_CONFIG": json.dumps(config), "OMP_NUM_THREADS": "1"},
            command=[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m",
                     "weighted_mtp.pipelines.run_ntp", "--config", "run.yaml"],
        )  # fmt: skip

    cut = begin("cut", FINGERPRINT)
    cut.until(lambda: any(name.endswith("/COMMITTED") for name in stored(storage, request)))
    cut.kill()
    resumed = begin("resumed", FINGERPRINT)
    assert resumed.ends() == 0, resumed.output
    assert resumed.last("start")["resumed_from"]
    assert_equal(storage, request, resumed)
    undisturbed = begin("undisturbed", "other")
    assert undisturbed.ends() == 0, undisturbed.output
    for name in ("curve.jsonl", "checkpoint_best/model.safetensors"):
        assert on_disk(resumed.app)[name] == on_disk(undisturbed.app)[name]

"""Dumps the database to S3 and brings a dump back.

  wmtp-backup                       a dump now (each night by itself); the newest 14 are kept
  wmtp-restore latest | NAME        puts the database back to a dump; --list names them

The dump holds experiments, runs and users; artifacts are in S3 already, under versioning.
"""

import os
import pathlib
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime

import boto3

BUCKET = os.environ["BUCKET"]
PREFIX = "mlflow-backups/"
KEPT = 14
FILE = pathlib.Path("/srv/wmtp/dump")  # on the data volume: the root disk may be smaller than the dump
HEALTH_S = 120


def postgres(*command: str) -> None:
    subprocess.run(["runuser", "-u", "postgres", "--", *command], check=True, cwd="/")


def sql(text: str) -> None:
    postgres("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", text)


def names() -> list[str]:
    """The dumps in S3, oldest first: their names are their times."""
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return sorted(key.removeprefix(PREFIX) for key in keys if key.endswith(".dump"))


def backup() -> None:
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ.dump")
    FILE.unlink(missing_ok=True)
    try:
        FILE.touch(mode=0o600)
        with FILE.open("wb") as file:
            subprocess.run(
                ["runuser", "-u", "postgres", "--", "pg_dump", "--format=custom", "mlflow"],
                check=True,
                cwd="/",
                stdout=file,
            )
        # An object appears whole or not at all.
        boto3.client("s3").upload_file(str(FILE), BUCKET, PREFIX + name)
    finally:
        FILE.unlink(missing_ok=True)
    for old in names()[:-KEPT]:
        boto3.client("s3").delete_object(Bucket=BUCKET, Key=PREFIX + old)
    print(f"wrote s3://{BUCKET}/{PREFIX}{name}")


def healthy() -> bool:
    deadline = time.monotonic() + HEALTH_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen("http://127.0.0.1:5000/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(1)
    return False


def swap(to: str, aside: str) -> None:
    """Puts database `to` in the place of mlflow, which is kept as `aside`."""
    subprocess.run(["systemctl", "stop", "mlflow.service"], check=True)
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mlflow'")
    sql(f"ALTER DATABASE mlflow RENAME TO {aside}")
    sql(f"ALTER DATABASE {to} RENAME TO mlflow")
    # The users' unit first: the passwords are today's, not those of the dump.
    subprocess.run(["systemctl", "restart", "mlflow-users.service"], check=True)
    subprocess.run(["systemctl", "start", "mlflow.service"], check=True)


def restore(wanted: str) -> None:
    found = names()
    if not found:
        sys.exit(f"error: there is no dump under s3://{BUCKET}/{PREFIX}: wmtp-backup makes one")
    name = found[-1] if wanted == "latest" else wanted
    if name not in found:
        sys.exit(f"error: there is no dump {name}: wmtp-restore --list names them")
    try:
        FILE.unlink(missing_ok=True)
        boto3.client("s3").download_file(BUCKET, PREFIX + name, str(FILE))
        sql("DROP DATABASE IF EXISTS mlflow_restored")
        sql("CREATE DATABASE mlflow_restored OWNER mlflow")
        # Beside the database in use, in one transaction: a bad dump changes nothing.
        with FILE.open("rb") as file:
            subprocess.run(
                [
                    "runuser",
                    "-u",
                    "postgres",
                    "--",
                    "pg_restore",
                    "--exit-on-error",
                    "--single-transaction",
                    "--dbname=mlflow_restored",
                ],
                check=True,
                cwd="/",
                stdin=file,
            )
    finally:
        FILE.unlink(missing_ok=True)
    sql("DROP DATABASE IF EXISTS mlflow_before_restore")
    swap("mlflow_restored", "mlflow_before_restore")
    if not healthy():
        swap("mlflow_before_restore", "mlflow_restored")
        sys.exit(
            "error: MLflow does not run on that dump: the database is again what it was; journalctl -u mlflow says why"
        )
    print(f"restored {name}; what was there before is the database mlflow_before_restore until the next restore")


def main() -> None:
    match sys.argv[1:]:
        case ["backup"]:
            backup()
        case ["restore", "--list"]:
            print("\n".join(names()))
        case ["restore", wanted]:
            restore(wanted)
        case _:
            sys.exit("usage: wmtp-backup | wmtp-restore latest | wmtp-restore NAME | wmtp-restore --list")


if __name__ == "__main__":
    main()

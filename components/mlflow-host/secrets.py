"""Reads the host's secret and applies what changed in it. At each boot, and every 15 minutes.

Passwords and key go to /run (memory) and to nobody but root; a unit gets its own by LoadCredential.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3

FOLDER = Path("/run/wmtp")
KEYS = ("adminPassword", "runsPassword", "flaskSecretKey")
TLS = ("tlsCertificate", "tlsPrivateKey")
CERTIFICATE = Path("/srv/wmtp/letsencrypt/live") / os.environ["HOST_NAME"] / "fullchain.pem"


def read() -> dict[str, str]:
    """The secret. The first try may come before the role, the secret's value or the network is there."""
    wanted = KEYS if os.environ.get("HOSTED_ZONE_ID") else KEYS + TLS
    pause = 1
    while True:
        try:
            answer = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["SECRET_ID"])
            secret = json.loads(answer["SecretString"])
            missing = [key for key in wanted if not secret.get(key)]
            if missing:
                raise ValueError(f"the secret lacks {', '.join(missing)}")
            return {key: secret[key] for key in wanted}
        except Exception as error:  # whatever it is, it may be put right while we wait
            # A JSON error quotes nothing of the text; botocore's name the call, never a value.
            print(f"the secret cannot be read yet: {type(error).__name__}: {error}; next try in {pause} s", flush=True)
            time.sleep(pause)
            pause = min(pause * 2, 15)


def write(values: dict[str, str]) -> set[str]:
    """Writes what differs, whole or not at all; the names that changed."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    changed = set()
    for key, value in values.items():
        path = FOLDER / key
        if path.exists() and path.read_text() == value:
            continue
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(value)
        new.rename(path)
        changed.add(key)
    return changed


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True)


def main() -> None:
    changed = write(read())
    if changed & set(KEYS):
        print(f"new: {', '.join(sorted(changed & set(KEYS)))}", flush=True)
        systemctl("restart", "--no-block", "mlflow-users.service")  # MLflow restarts with it
    # Starts what waited for a secret, a volume or a certificate, and does nothing else.
    systemctl("start", "--no-block", "mlflow.service")
    if not os.environ.get("HOSTED_ZONE_ID") or CERTIFICATE.exists():
        systemctl("reload-or-restart" if changed & set(TLS) else "start", "--no-block", "nginx.service")


if __name__ == "__main__":
    sys.exit(main())

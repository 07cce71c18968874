"""Brings MLflow's tables up to this version and its two users to the passwords of the secret; before MLflow starts.

No password is on a command line or in an environment: they come as files that only this unit can read.
"""

import os
from pathlib import Path

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db.utils import (
    _all_tables_exist,
    _safe_initialize_tables,
    _upgrade_db,
    create_sqlalchemy_engine_with_retry,
)

CREDENTIALS = Path(os.environ["CREDENTIALS_DIRECTORY"])
USERS = {"wmtp_admin": ("adminPassword", True), "wmtp_runs": ("runsPassword", False)}


def main() -> None:
    tracking = create_sqlalchemy_engine_with_retry(os.environ["MLFLOW_BACKEND_STORE_URI"])
    if _all_tables_exist(tracking):
        _upgrade_db(tracking)
    else:
        _safe_initialize_tables(tracking)
    users = SqlAlchemyStore()
    users.init_db(read_auth_config().database_uri)
    for name, (credential, admin) in USERS.items():
        password = (CREDENTIALS / credential).read_text()
        if not users.has_user(name):
            users.create_user(name, password, is_admin=admin)
        elif not users.authenticate_user(name, password):
            users.update_user(name, password=password)
            print(f"the password of {name} was changed")
        users.update_user(name, is_admin=admin)


if __name__ == "__main__":
    main()

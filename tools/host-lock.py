"""Reduces a pylock.toml for the MLflow host to lines for pip: of each package the one wheel that pip picks there.

One hash a package instead of thirty: the lock travels in the host's user data, which has 16 KB for everything.
"""

import sys
import tomllib
from itertools import chain

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

PYTHON = (3, 11)  # Debian 12
GLIBC_MINOR = 36


def ranks() -> dict:
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC_MINOR, 4, -1)] + ["linux_x86_64"]
    tags = chain(cpython_tags(PYTHON, ["cp311"], platforms), compatible_tags(PYTHON, "cp311", platforms))
    return {tag: rank for rank, tag in enumerate(tags)}


def main() -> None:
    order = ranks()
    for package in tomllib.load(sys.stdin.buffer)["packages"]:
        fitting = []
        for wheel in package.get("wheels", []):
            tags = parse_wheel_filename(wheel.get("name") or wheel["url"].rsplit("/", 1)[1])[3]
            rank = min((order[tag] for tag in tags if tag in order), default=None)
            if rank is not None:
                fitting.append((rank, wheel["hashes"]["sha256"]))
        if not fitting:
            sys.exit(f"error: {package['name']} {package['version']} has no wheel for the host: choose another version")
        print(f"{package['name']}=={package['version']} --hash=sha256:{min(fitting)[1]}")


if __name__ == "__main__":
    main()

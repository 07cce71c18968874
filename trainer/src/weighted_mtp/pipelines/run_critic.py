"""Pipeline critic: value head on a trunk, predicting the verifiable reward of a solution."""

import sys

from weighted_mtp.cli import run_pipeline

if __name__ == "__main__":
    sys.exit(run_pipeline("critic"))

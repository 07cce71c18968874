"""Pipeline verifiable: multi-token prediction on correct solutions, tokens weighted by the critic's TD errors."""

import sys

from weighted_mtp.cli import run_pipeline

if __name__ == "__main__":
    sys.exit(run_pipeline("verifiable"))

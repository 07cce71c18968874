"""Pipeline baseline: multi-token prediction, all tokens alike."""

import sys

from weighted_mtp.cli import run_pipeline

if __name__ == "__main__":
    sys.exit(run_pipeline("baseline"))

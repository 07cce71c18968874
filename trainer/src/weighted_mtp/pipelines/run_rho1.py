"""Pipeline rho1: multi-token prediction on the tokens furthest above a reference's loss (Rho-1, arXiv 2404.07965)."""

import sys

from weighted_mtp.cli import run_pipeline

if __name__ == "__main__":
    sys.exit(run_pipeline("rho1"))

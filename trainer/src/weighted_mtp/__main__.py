"""`python -m weighted_mtp train|prepare|schema`."""

import sys

from weighted_mtp.cli import main

if __name__ == "__main__":
    sys.exit(main())

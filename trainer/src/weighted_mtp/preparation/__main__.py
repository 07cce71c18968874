"""`python -m weighted_mtp.preparation`, the same as `python -m weighted_mtp prepare`."""

import sys

from weighted_mtp.preparation.cli import main

sys.exit(main())

import sys

from weighted_mtp.entry.cli import main

sys.exit(main())

"""`python -m dev.localkind`: see cli.py."""

import sys

from dev.localkind.cli import main

sys.exit(main())

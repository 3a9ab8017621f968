"""`python -m dev.cluster`: see cli.py."""

import sys

from dev.cluster.cli import main

sys.exit(main())

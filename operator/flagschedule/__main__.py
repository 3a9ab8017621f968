"""Lets `python -m flagschedule` do what `flagschedule` does."""

import sys

from flagschedule.cli import main

sys.exit(main())

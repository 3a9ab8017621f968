"""Defaults that the settings and the domain share. It imports nothing, because every program reads the settings."""

from datetime import timedelta
from typing import Final

SHORTEST_INTERVAL: Final = timedelta(minutes=5)  # between two starts of a plan's cron step

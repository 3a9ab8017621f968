"""FlagSchedule: changes feature flags at a set time, exactly once and in order."""

__version__ = "0.1.0"

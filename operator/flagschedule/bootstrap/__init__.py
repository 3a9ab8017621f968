"""The only place that chooses adapters; a module for each program, so that each loads what it needs."""

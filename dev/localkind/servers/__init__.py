"""Postgres and Redis from wheels, Prometheus from the Debian package: servers that need no installation.

Called by the demo, the tests and the benchmarks.
"""

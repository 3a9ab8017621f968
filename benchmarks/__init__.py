"""Measures the product, alone and next to other programs: `python -m benchmarks`. See docs/explanation/benchmarks.md.

Called by people. It uses fixtures of `tests`; nothing imports it but its own tests.
"""

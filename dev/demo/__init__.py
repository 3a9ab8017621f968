"""`make demo`: the product at work on a real cluster, before the reader's eyes.

`installation` puts the product into a cluster and is also what the tests in tests/e2e use. Nothing here is part of
the product, and nothing here pretends: every command that is shown is run, and its output is the real one.
"""

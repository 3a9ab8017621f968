"""The parts that FlagSchedule works with, run on this machine from wheels: Postgres and Redis.

For the demo and the tests; nothing of it is part of the product.
"""

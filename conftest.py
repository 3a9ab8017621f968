"""What every test of the repository shares: the plugins, and an environment without settings of the developer.

It is here because pytest loads plugins only from a `conftest.py` above all tests; fixtures are in `tests/conftest.py`.
"""

import os

import hypothesis

from tests import waiting

pytest_plugins = ["tests.builds", "tests.parallel", "tests.support.asynchronous"]

# A test never sees the settings, the database or the cluster of the user who runs it.
for _name in [*os.environ]:
    if _name.startswith(("FLAG_SCHEDULE_", "PG", "WEBHOOK_")) or _name in {"DATABASE_URL", "REDIS_URL", "KUBECONFIG"}:
        del os.environ[_name]

# A test run in the background, as by `make test &`, inherits signals that are ignored.
waiting.restore_signals()

# The same examples in every run. `--hypothesis-profile=explore` looks for new ones.
hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("deterministic")

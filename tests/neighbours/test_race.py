"""Stops and edits around the moment of a change; `python -m tests.neighbours race` runs more of them."""

import random

import pytest

from tests.neighbours import race
from tests.neighbours.world import world

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(240)]


def test_a_race_tells_one_story() -> None:
    """Row, attempts, flag, status, Event and columns agree on who was first, for every stop and edit."""
    found = race.Race()
    with world() as on:
        race.run(on, 30, "race-", random.Random(1), found)  # noqa: S311 -- a scene, no secret

    assert not found.faults, found.text()

"""No secret of the database's address reaches an object, an event or the operator's log."""

import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.cluster.api import Api, eventually, flagschedule
from tests.cluster.operator_fixtures import Operator, Scene
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

WORDS = r"hunter2|norole-here|no-such-host|no-such-database"


def published(api: Api) -> str:
    """Return everything that a user can read of the objects of a namespace and of what happened to them."""
    kinds = (f"/apis/flagschedule.io/v1alpha1/namespaces/{api.namespace}/flagschedules",
             f"/api/v1/namespaces/{api.namespace}/events",
             f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events")  # fmt: skip
    return json.dumps([api.request("GET", kind).body for kind in kinds])


def test_a_database_that_cannot_be_reached_is_not_described(
    api: Api, database_url: str, new_operator: Callable[..., Operator]
) -> None:
    """With a wrong password, user, port, host or database, at DEBUG, no log and no object shows any part of it."""
    good = urlsplit(database_url)
    clean = f"{good.hostname}:{good.port}{good.path}"
    urls = [
        f"postgresql://postgres:hunter2@{clean}",
        f"postgresql://norole-here:hunter2@{clean}",
        f"postgresql://postgres:hunter2@{good.hostname}:1{good.path}",
        f"postgresql://postgres:hunter2@no-such-host.invalid:{good.port}{good.path}",
        f"{database_url.rpartition('/')[0]}/no-such-database",
    ]
    operators = [
        new_operator(url, REDIS_URL="redis://:hunter2@no-such-host.invalid:6399/0", FLAG_SCHEDULE_LOG_LEVEL="DEBUG")
        for url in urls
    ]
    assert api.create(flagschedule("launch", spec())).ok

    for operator in operators:
        operator.start(wait=False)
    for operator in operators:
        eventually(lambda at=operator: at.probe("readyz") == (503, "database"), "it says what it lacks")  # type: ignore[misc]  # bound at once
    for operator in operators:
        assert operator.stop() == 0

    secret = rf"{WORDS}|{re.escape(str(good.password))}|(?<![\d.]){good.port}(?!\d)"
    for operator in operators:
        assert operator.lines("Database lost")
        assert re.findall(secret, operator.log.read_text()) == []
    assert re.findall(secret, published(api)) == []
    assert "annotations" not in api.get("launch")["metadata"]


def test_what_the_database_refuses_is_not_repeated(scene: Scene, database_url: str) -> None:
    """A refusal with a secret in its text, on the mirror's side and on the processor's, shows its kind only."""
    scene.database.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'hunter2' USING DETAIL = 'hunter2', ERRCODE = '23514'; END $$"
    )
    scene.database.run(
        "CREATE TRIGGER refuse BEFORE INSERT ON feature_flag_schedules FOR EACH ROW EXECUTE FUNCTION refuse()"
    )

    scene.create("launch")

    eventually(lambda: scene.operator.lines("Object not handled") != [], "the refusal is logged")
    assert "annotations" not in scene.api.get("launch")["metadata"]
    password = urlsplit(database_url).password
    for text in (published(scene.api), scene.operator.log.read_text()):
        assert re.findall(rf"hunter2|{re.escape(str(password))}", text) == []

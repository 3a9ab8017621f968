"""What the client for the API server makes of an answer; all else is in tests/conformance and tests/cluster."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from flagschedule.adapters.kubernetes.object_client import FLAG_SCHEDULES, KubernetesObjectClient
from tests.unit.builders import UID, body


async def test_an_object_that_cannot_be_read_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of a shape that the API server never returns is logged with its uid and left out of the list."""
    odd, good = body(), body()
    del odd["metadata"]["generation"]
    good["metadata"] |= {"uid": UID[:-1] + "2", "name": "good"}
    client = KubernetesObjectClient(FLAG_SCHEDULES, [], "kube-system")

    async def page(*_: object) -> Any:
        return {"metadata": {}, "items": [odd, good]}

    monkeypatch.setattr(client, "_page", page)
    with capture_logs() as lines:
        names = [obj.ref.name async for obj in client.list()]

    assert names == ["good"]
    assert [(line["event"], line["uid"]) for line in lines] == [("Object not understood", UID)]

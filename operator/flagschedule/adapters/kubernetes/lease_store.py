"""The lease of the operator's replicas: an object of coordination.k8s.io. Implements ports.cluster.LeaseStore.

It must not write but over the very version that was read: of two candidates who saw the same lease, one is refused.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from flagschedule.adapters.kubernetes.api import ApiServer
from flagschedule.domain.errors import ObjectGoneError
from flagschedule.ports.cluster import Lease

_NEW: Final = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def own_namespace() -> str | None:
    """The namespace of the pod that we are in; None where we do not speak to the API server as a pod does."""
    try:
        config.load_incluster_config(client_configuration=Configuration())  # type: ignore[no-untyped-call]  # untyped library
        return _NAMESPACE_FILE.read_text().strip() or None
    except (config.ConfigException, OSError):
        return None


class KubernetesLeaseStore:
    """One Lease. Open it as a context manager; the API server need not be there yet."""

    def __init__(self, namespace: str, name: str) -> None:
        self._place = ("apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases")
        self._name = name

    async def __aenter__(self) -> Self:
        self._api = await ApiServer().__aenter__()  # connections of its own: a renewal must not queue
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._api.__aexit__(*error)

    async def read(self) -> Lease | None:
        """See ports.cluster.LeaseStore."""
        try:
            body = await self._api.request("GET", *self._place, self._name)
        except ObjectGoneError:
            return None
        spec = body.get("spec") or {}
        return Lease(
            holder=spec.get("holderIdentity") or "",
            renewal=spec.get("renewTime") or "",
            duration=spec.get("leaseDurationSeconds") or 0,
            body=body,
        )

    async def write(self, before: Lease | None, holder: str, duration: float) -> None:
        """See ports.cluster.LeaseStore. What others have written onto the object stays."""
        if before is None:
            body = {**_NEW, "metadata": {"name": self._name}, "spec": _terms({}, holder, duration)}
            await self._api.request("POST", *self._place, body=body)
            return
        # The body holds its resourceVersion: the API server refuses it if the object has changed.
        body = {**before.body, "spec": _terms(before.body.get("spec") or {}, holder, duration)}
        await self._api.request("PUT", *self._place, self._name, body=body)


def _terms(before: Mapping[str, Any], holder: str, duration: float) -> dict[str, Any]:
    # The times are for people; no decision depends on them. The API server wants exactly six digits.
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    terms = {**before, "holderIdentity": holder, "leaseDurationSeconds": max(1, round(duration)), "renewTime": now}
    if holder and holder != before.get("holderIdentity"):
        terms |= {"acquireTime": now, "leaseTransitions": (before.get("leaseTransitions") or 0) + bool(before)}
    return terms

"""What is read where rights or kinds are missing."""

import pytest

from flagschedule.plugin import reading
from flagschedule.plugin.errors import PluginError
from flagschedule.plugin.objects import FREEZE, PLAN, SCHEDULE
from flagschedule.plugin.reading import Scope
from tests.unit.plugin.cluster import Reader
from tests.unit.plugin.objects import freeze, plan, schedule

SHOP = Scope(("shop",))
ALL = Scope(is_all=True)
OBJECTS = (schedule("launch"), plan("hours"), freeze("holidays"))


@pytest.mark.parametrize("kind", [PLAN, FREEZE])
def test_a_bare_name_is_found_without_a_right_to_another_kind(kind: str) -> None:
    """A tenant has no rights on FlagFreezes, and wants to know why a FlagSchedule waits."""
    found, notes = reading.find(Reader(OBJECTS, forbidden={kind}), SHOP, "launch", (SCHEDULE, PLAN, FREEZE))

    assert found.name == "launch"
    assert [note.partition(":")[0] for note in notes] == [f"{kind}s are not shown"]


@pytest.mark.parametrize("kind", [PLAN, FREEZE])
def test_a_bare_name_is_found_where_another_kind_is_not_installed(kind: str) -> None:
    """The cluster has an older release."""
    found, notes = reading.find(Reader(OBJECTS, absent={kind}), SHOP, "launch", (SCHEDULE, PLAN, FREEZE))

    assert found.name == "launch"
    assert [note.partition(" (")[0] for note in notes] == [f"{kind}s are not shown: the cluster does not serve them"]


def test_a_name_that_is_not_there_says_what_was_not_searched() -> None:
    """It may be of the kind that cannot be read."""
    with pytest.raises(PluginError, match=r"(?s)no flagschedule gone in namespace shop.*FlagPlans are not shown"):
        reading.find(Reader(OBJECTS, forbidden={PLAN}), SHOP, "gone", (SCHEDULE, PLAN))


@pytest.mark.parametrize("scope", [SHOP, ALL, Scope(), Scope(("shop", "pay"))])
@pytest.mark.parametrize("reason", ["forbidden", "absent"])
@pytest.mark.parametrize("kind", [SCHEDULE, PLAN, FREEZE])
def test_one_kind_that_cannot_be_read_hides_no_other(scope: Scope, reason: str, kind: str) -> None:
    """One note says which kind is missing."""
    found = reading.read(Reader(OBJECTS, **{reason: {kind}}), scope)

    assert {obj.kind for obj in found.objects} == {SCHEDULE, PLAN, FREEZE} - {kind}
    (note,) = found.notes
    assert note.startswith(f"{kind}s are not shown")


@pytest.mark.parametrize("scope", [SHOP, ALL, Scope()])
@pytest.mark.parametrize("reason", ["forbidden", "absent"])
def test_where_nothing_can_be_read_a_sentence_says_so(scope: Scope, reason: str) -> None:
    """An empty timeline would look like one without changes."""
    with pytest.raises(PluginError, match=r"you may read|you may not read|does not serve"):
        reading.read(Reader(OBJECTS, **{reason: {SCHEDULE, PLAN}}), scope)


def test_all_namespaces_are_read_one_by_one_where_rights_are_of_namespaces() -> None:
    """Also where the rights differ between the kinds."""
    refused = {f"{SCHEDULE}/*", f"{PLAN}/*", f"{SCHEDULE}/pay", f"{PLAN}/pay"}
    found = reading.read(Reader(OBJECTS, forbidden=refused), ALL)
    only_plans = reading.read(Reader(OBJECTS, forbidden={SCHEDULE, "Namespace"}), ALL)

    assert (len(found.objects), found.notes) == (3, ("not shown, because you may not read them: pay",))
    assert [obj.kind for obj in only_plans.objects] == [PLAN, FREEZE]
    with pytest.raises(PluginError, match="neither all namespaces nor their list"):
        reading.read(Reader(OBJECTS, forbidden={SCHEDULE, PLAN, "Namespace"}), ALL)

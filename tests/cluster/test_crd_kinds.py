"""Each constraint of FlagPlan and FlagFreeze on the real API server, as test_crd_constraints.py for FlagSchedule."""

import pytest

from tests.cluster import freeze_corpus, plan_corpus
from tests.cluster.api import Api, flagfreeze, flagplan

pytestmark = pytest.mark.apiserver


def test_good_plans_are_let_in(api: Api) -> None:
    """Every plan of the corpus that is good is accepted, the longest that the schema allows, too."""
    plans = api.of("flagplans")
    refused = {
        name: answer.message
        for name, good in plan_corpus.GOOD.items()
        if not (answer := plans.create(flagplan("good", good), dry_run=True)).ok
    }

    assert refused == {}


def test_bad_plans_are_refused_with_a_sentence(api: Api) -> None:
    """Every plan of the corpus that is bad is refused, and the message says what to do."""
    plans = api.of("flagplans")
    answers = {name: plans.create(flagplan("bad", bad), dry_run=True) for name, (bad, _) in plan_corpus.BAD.items()}

    assert [name for name, answer in answers.items() if answer.ok] == []
    assert {name: a.message for name, a in answers.items() if plan_corpus.BAD[name][1] not in a.message} == {}


def test_good_freezes_are_let_in(api: Api) -> None:
    """Every freeze of the corpus that is good is accepted."""
    freezes = api.of("flagfreezes")
    refused = {
        name: answer.message
        for name, good in freeze_corpus.GOOD.items()
        if not (answer := freezes.create(flagfreeze("good", good), dry_run=True)).ok
    }

    assert refused == {}


def test_bad_freezes_are_refused_with_a_sentence(api: Api) -> None:
    """Every freeze of the corpus that is bad is refused, and the message says what to do."""
    freezes = api.of("flagfreezes")
    answers = {
        name: freezes.create(flagfreeze("bad", bad), dry_run=True) for name, (bad, _) in freeze_corpus.BAD.items()
    }

    assert [name for name, answer in answers.items() if answer.ok] == []
    assert {name: a.message for name, a in answers.items() if freeze_corpus.BAD[name][1] not in a.message} == {}


def test_long_names_are_refused(api: Api) -> None:
    """The name of a plan or a freeze has at most 63 characters; Kubernetes itself would allow 253."""
    for make, plural, good in (
        (flagplan, "flagplans", plan_corpus.chain()),
        (flagfreeze, "flagfreezes", freeze_corpus.spec()),
    ):
        assert api.of(plural).create(make("n" * 63, good), dry_run=True).ok
        refused = api.of(plural).create(make("n" * 64, good), dry_run=True)
        assert "metadata.name must be at most 63 characters long" in refused.message


@pytest.mark.parametrize("plural", ["flagplans", "flagfreezes"])
def test_nothing_is_added_to_a_new_object(api: Api, plural: str) -> None:
    """The stored spec is the one that was sent, and the status says that no operator has seen it."""
    sent = (
        flagplan("plain", plan_corpus.recurring())
        if plural == "flagplans"
        else flagfreeze(f"plain-{api.namespace}", freeze_corpus.once())
    )

    created = api.of(plural).create(sent)

    assert created.body["spec"] == sent["spec"]
    assert created.body["status"] == {"observedGeneration": -1}
    assert api.of(plural).delete(sent["metadata"]["name"]).ok

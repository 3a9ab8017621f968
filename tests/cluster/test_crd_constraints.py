"""Each constraint of the CRD on the real API server: what is let in, what is refused, and with which sentence."""

from typing import Any

import pytest

from tests.cluster import spec_corpus
from tests.cluster.api import Api, flagschedule
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver


def test_good_specs_are_let_in(api: Api) -> None:
    """Every spec of the corpus that is good is accepted."""
    refused = {
        name: answer.message
        for name, good in spec_corpus.GOOD.items()
        if not (answer := api.create(flagschedule("good", good), dry_run=True)).ok
    }

    assert refused == {}


@pytest.mark.parametrize("name", spec_corpus.BAD)
def test_a_bad_spec_is_refused_with_a_sentence(api: Api, name: str) -> None:
    """Every spec of the corpus that is bad is refused, and the message says what to do."""
    bad, sentence = spec_corpus.BAD[name]

    answer = api.create(flagschedule("bad", bad), dry_run=True)

    assert not answer.ok
    assert sentence in answer.message


def test_good_times_are_let_in(api: Api) -> None:
    """RFC 3339 times with an offset are accepted, odd as they may look."""
    refused = {
        text: answer.message
        for text in spec_corpus.GOOD_TIMES
        if not (answer := api.create(flagschedule("good", spec(scheduledAt=text)), dry_run=True)).ok
    }

    assert refused == {}


def test_bad_times_are_refused_with_a_sentence(api: Api) -> None:
    """What is no real RFC 3339 instant of 2000-2099 is refused, and the message shows a good one."""
    answers = {
        text: api.create(flagschedule("bad", spec(scheduledAt=text)), dry_run=True) for text in spec_corpus.BAD_TIMES
    }

    assert [text for text, answer in answers.items() if answer.ok] == []
    assert [text for text, answer in answers.items() if spec_corpus.TIME_MESSAGE not in answer.message] == []


@pytest.mark.parametrize("time", [2051222400, 2051222400.5, True, None, {}])
def test_a_time_that_is_no_string_is_refused(api: Api, time: Any) -> None:
    """Numbers are no times: they do not say whether they mean seconds or milliseconds."""
    assert not api.create(flagschedule("bad", spec(scheduledAt=time)), dry_run=True).ok


def test_unknown_fields_cannot_slip_in_without_validation(api: Api) -> None:
    """With `--validate=false` an unknown update is dropped, and the empty rest is refused all the same."""
    path = f"/apis/flagschedule.io/v1alpha1/namespaces/{api.namespace}/flagschedules?fieldValidation=Ignore&dryRun=All"

    answer = api.request("POST", path, flagschedule("bad", spec(updates={"colour": "red"})))

    assert spec_corpus.UPDATES_MESSAGE in answer.message


def test_no_default_is_written_into_the_spec(api: Api) -> None:
    """The stored spec is the one that was sent, so that Git never sees a difference."""
    created = api.create(flagschedule("plain", spec()))

    assert created.body["spec"] == spec()


def test_a_new_object_is_not_mistaken_for_a_reconciled_one(api: Api) -> None:
    """The status of a new object says that no operator has seen it."""
    created = api.create(flagschedule("new", spec()))

    assert created.body["status"] == {"observedGeneration": -1}

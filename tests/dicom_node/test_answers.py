"""What the steps of the main job answer, and its recorded form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.work.answers import (
    Analyzed,
    Built,
    Failed,
    NoRoom,
    Opened,
    Stale,
    UnknownAnswer,
    from_json,
    to_json,
)

ANSWERS = st.one_of(
    st.builds(Opened, st.lists(st.text()).map(tuple)),
    st.builds(Analyzed, st.text(), st.text()),
    st.builds(Built, st.integers()),
    st.builds(Failed, st.text(), may_pass=st.booleans()),
    st.builds(NoRoom, st.text()),
    st.just(Stale()),
)


@given(ANSWERS)
def test_an_answer_that_went_through_the_database_is_the_same_answer(answer):
    assert from_json(json.loads(json.dumps(to_json(answer)))) == answer


@pytest.mark.parametrize(
    "recorded",
    [
        {"slides": ["a"]},
        {"failed": "x", "may_pass": True},
        {"stale": True},
        {"kind": "finished"},
        {"kind": "built", "objects": "two"},
        {"kind": "opened", "slides": [1]},
        {"kind": "opened", "slides": "ab"},
        {"kind": 3},
        "built",
        None,
    ],
)
def test_what_this_version_never_records_is_refused_in_a_sentence(recorded):
    with pytest.raises(UnknownAnswer, match="expected an answer of this version; the study has"):
        from_json(recorded)


def test_a_refusal_names_the_kind_and_quotes_nothing_else():
    with pytest.raises(UnknownAnswer) as refused:
        from_json({"kind": "finished", "reason": "a name"})
    assert "'finished'" in str(refused.value)
    assert "a name" not in str(refused.value)

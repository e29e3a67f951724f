"""Ids: what is taken, what is refused, and Song's rule for object ids."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.errors import Invalid
from score.protocol.ids import check_object_id, check_upload_id, is_uuid, object_id


@given(st.uuids(), st.booleans())
def test_object_ids_are_kept_as_given(value: uuid.UUID, upper: bool) -> None:
    text = str(value).upper() if upper else str(value)
    assert check_object_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not-a-uuid",
        "5c0eca11-0000-4000-8000-00000000000",
        "5c0eca11-0000-4000-8000-0000000000001",
        "5c0eca11-0000-4000-8000-000000000001\n",
        " 5c0eca11-0000-4000-8000-000000000001",
        "{5c0eca11-0000-4000-8000-000000000001}",
        "5c0eca11000040008000000000000001",
        "urn:uuid:5c0eca11-0000-4000-8000-000000000001",
        "../5c0eca11-0000-4000-8000-000000000001",
        "５c0eca11-0000-4000-8000-000000000001",
    ],
)
def test_what_is_no_object_id_is_refused(text: str) -> None:
    assert not is_uuid(text)
    with pytest.raises(Invalid, match="is not an object id"):
        check_object_id(text)


def test_a_long_text_is_not_repeated_in_full() -> None:
    with pytest.raises(Invalid) as caught:
        check_object_id("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "2~abcDEF0123456789",
        "ODljYjU4YTMtOGRl.Y2VmMWE5NzI",
        "NmEy==",
        "a_b-c+d/e=",
    ],
)
def test_ids_of_stores_are_plausible_upload_ids(text: str) -> None:
    assert check_upload_id(text) == text


@pytest.mark.parametrize("text", ["", "/a", "../a", "a/../b", "a b", "a\n", 'a"', "a|b", "a" * 1025, "ä", "a\x00"])
def test_what_no_store_gives_out_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Invalid, match=r"not an upload id\. Use"):
        check_upload_id(text)


def test_object_ids_follow_songs_rule() -> None:
    """As a Song 5.1 gave them out."""
    analysis = "6d732a42-da6c-40a6-b32a-42da6c50a61c"
    assert object_id(analysis, "s1795312233.txt") == "f1308f2c-39dc-502c-8c98-65d083bfb544"


@given(st.uuids().map(str), st.text(min_size=1))
def test_object_ids_are_name_based_uuids(analysis: str, name: str) -> None:
    made = object_id(analysis, name)
    assert is_uuid(made)
    assert uuid.UUID(made).version == 5
    assert made == object_id(analysis, name)
    assert made != object_id(analysis, name + "x")

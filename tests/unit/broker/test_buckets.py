from __future__ import annotations

import pytest

from score.broker.buckets import names_of, number_of
from score.broker.state import Layout

ID = "5c0e0000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("object_id", "pool", "digits", "number"),
    [
        (ID, 10, 2, 0x5C % 10),
        (ID.upper(), 10, 2, 2),
        (ID, 3, 4, 0x5C0E % 3),
        (ID, 1, 7, 0),
        ("ff" + ID[2:], 256, 2, 255),
    ],
)
def test_the_bucket_follows_from_the_first_digits(object_id: str, pool: int, digits: int, number: int) -> None:
    assert number_of(object_id, pool, digits) == number


def test_names() -> None:
    assert names_of("objects", 3) == ["objects.0", "objects.1", "objects.2"]
    assert names_of("objects", 0) == []


@pytest.mark.parametrize("data", ["data", "", "deep/er"])
def test_keys_of_objects(data: str) -> None:
    layout = Layout(data)
    keys = [
        layout.object(ID),
        layout.meta(ID),
        layout.uploads_of(ID),
        layout.upload_meta(ID, "an-upload"),
        layout.records_of(ID, "an-upload", 1),
    ]
    assert {layout.object_of(key) for key in keys} == {ID}
    others = [layout.sentinel("heliograph"), layout.data_prefix, "upload/", layout.object(ID[:-1]), f"else/{ID}"]
    assert {layout.object_of(key) for key in [*others, layout.object(ID + "0"), layout.object(f"{ID}/x")]} == {None}

"""Scopes: pure policy."""

from __future__ import annotations

import pytest

from score.auth.scopes import Right, Scopes


@pytest.mark.parametrize(
    ("granted", "everywhere", "within"),
    [
        ([], False, False),
        (["score.WRITE"], True, True),
        (["SCORE.write"], True, True),
        (["PROGRAMDATA-A.WRITE"], False, True),
        (["programdata-a.write"], False, True),
        (["PROGRAMDATA-A.READ"], False, False),
        (["PROGRAMDATA-AB.WRITE", "PROGRAMDATA-.WRITE", "score.READ"], False, False),
    ],
)
def test_rights(granted: list[str], everywhere: bool, within: bool) -> None:
    right = Scopes().upload
    assert right.everywhere(granted) is everywhere
    assert right.within("A", granted) is within


def test_prefix_and_suffix_may_be_empty() -> None:
    right = Right("all", "", "")
    assert right.within("A", ["A"])
    assert not right.within("", [""]), "no study is not a study"

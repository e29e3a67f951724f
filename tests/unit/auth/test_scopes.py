"""Scopes: pure policy."""

from __future__ import annotations

import pytest

from score.auth.scopes import Right, Scopes, fold


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
        (
            ["score", "score.", "score.W", "score.WRITEX", "xscore.WRITE", "PROGRAMDATA-A", "PROGRAMDATA-A.W"],
            False,
            False,
        ),
        (["", ".*", "score.*", "PROGRAMDATA-?.WRITE"], False, False),
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


def test_case_is_all_that_does_not_matter() -> None:
    """Claim: no letter of another alphabet, and no letter that stands for two, passes for one of a scope's."""
    assert fold("Score.READ") == "score.read"
    assert fold("MÜNCHEN") == "münchen"
    for look_alike, plain in (("\u212a", "k"), ("\u017f", "s"), ("\u0130", "i"), ("\u00df", "ss"), ("\ufb01", "fi")):
        assert fold(look_alike) != fold(plain)


def test_the_study_of_a_scope() -> None:
    right = Right("score.READ", "score.", ".READ")
    assert right.study_of("SCORE.Test-CA.read") == "Test-CA"
    for scope in ("score.READ", "score..READ", "score.a.WRITE", "a.READ", ""):
        assert right.study_of(scope) == ""
    assert right.knows("score.READ")
    assert right.knows("score.a.READ")
    assert not right.knows("song.READ")

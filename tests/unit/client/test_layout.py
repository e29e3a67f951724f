"""Where a downloaded object lies: never outside the output folder, and never where another one does."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.client.layout import Claims, Layout, distinct, folds, place
from score.errors import Conflict, Invalid
from score.protocol.wire import Entity

OUT = Path("/out")
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
ANALYSIS = "a11aca11-0000-4000-8000-000000000020"


def entity(name: str = "a.bam", analysis: str = ANALYSIS, object_id: str = OBJECT) -> Entity:
    return Entity(id=object_id, gnos_id=analysis, file_name=name, project_code="TEST-CA", access="open")


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        (Layout.FILENAME, OUT / "a.bam"),
        (Layout.BUNDLE, OUT / ANALYSIS / "a.bam"),
        (Layout.ID, OUT / OBJECT),
    ],
)
def test_the_three_layouts(layout: Layout, path: Path) -> None:
    assert place(OUT, layout, entity()) == path


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "../../etc/passwd",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
        "a\\..\\b",
        "\\\\host\\share",
        "C:\\x",
        "C:x",
        "a\x00b",
        "a\nb",
        "a\x1b[2Jb",
        "a\x7f",
    ],
)
def test_a_name_that_is_no_plain_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="could be written anywhere") as caught:
        place(OUT, Layout.FILENAME, entity(name))
    assert "--output-layout id" in caught.value.hint
    assert caught.value.message.isprintable()
    with pytest.raises(Invalid, match="File name"):
        place(OUT, Layout.BUNDLE, entity(name))
    with pytest.raises(Invalid, match="Analysis id"):
        place(OUT, Layout.BUNDLE, entity(analysis=name))
    with pytest.raises(Invalid, match="Object id"):
        place(OUT, Layout.ID, entity(object_id=name))
    assert place(OUT, Layout.ID, entity(name)) == OUT / OBJECT


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(list(Layout)))
def test_nothing_is_ever_placed_outside(name: str, analysis: str, layout: Layout) -> None:
    try:
        path = place(OUT, layout, entity(name, analysis))
    except Invalid:
        return
    assert path.is_relative_to(OUT)
    assert path != OUT
    assert ".." not in path.parts
    assert len(path.relative_to(OUT).parts) == (2 if layout is Layout.BUNDLE else 1)


@pytest.mark.parametrize("name", ["a.bam", "-rf", ".hidden", "a b", "Größe Ω.bam", "~", "$(x)", "..."])
def test_odd_but_plain_names_are_kept(name: str) -> None:
    assert place(OUT, Layout.FILENAME, entity(name)) == OUT / name


def test_a_file_belongs_to_one_object() -> None:
    claims = Claims()
    one, two = (f"5c0eca11-0000-4000-8000-00000000000{number}" for number in (1, 2))
    claims.claim(OUT / "a.bam", one)
    claims.claim(OUT / "a.bam", one)
    claims.claim(OUT / "b.bam", two)
    with pytest.raises(Conflict, match=rf"a\.bam would be written by two objects, {one} and {two}") as caught:
        claims.claim(OUT / "a.bam", two)
    assert "--output-layout" in caught.value.hint


@pytest.mark.parametrize(("first", "second"), [("Reads.bam", "reads.bam"), ("caf\u00e9.bam", "cafe\u0301.bam")])
def test_names_that_the_file_system_takes_for_one_are_one(first: str, second: str) -> None:
    one, two = (f"5c0eca11-0000-4000-8000-00000000000{number}" for number in (1, 2))
    apart, folding = Claims(), Claims(folding=True)
    for claims in (apart, folding):
        claims.claim(OUT / first, one)
        claims.claim(OUT / "b.bam", two)
    apart.claim(OUT / second, two)
    with pytest.raises(Conflict, match="would be written by two objects"):
        folding.claim(OUT / second, two)


def test_whether_names_are_taken_for_one_is_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not folds(tmp_path)
    assert not folds(tmp_path / "none")
    lexists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: lexists(path) or lexists(str(path).swapcase()))
    monkeypatch.chdir(tmp_path)
    assert folds(Path())
    assert os.listdir(tmp_path) == []


def test_of_many_that_ask_at_once_one_gets_it() -> None:
    claims = Claims()
    together = threading.Barrier(8)

    def ask(number: int) -> bool:
        together.wait(30)
        try:
            claims.claim(OUT / "a.bam", f"5c0eca11-0000-4000-8000-00000000000{number}")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1


def test_no_file_of_a_folder_hides_another() -> None:
    given = [("1", "a.bam"), ("2", "b.bam"), ("3", "a.bam"), ("4", "../x"), ("5", "x" * 256), ("6", "")]
    assert distinct(given) == ["1-a.bam", "b.bam", "3-a.bam", "4", "5", "6"]
    assert distinct([("7", "y" * 255), ("8", "y" * 255)]) == ["7", "8"]

"""One file becomes an object: what the server is asked, and what is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import Outcome, State
from score.errors import Invalid
from score.testing.score import FaultyScore
from score.transfer.events import Checked, Planned

from .conftest import DATA, MD5, OBJECT, calls, checked


def test_a_file_becomes_an_object(client: Client, site: FaultyScore, path: Path) -> None:
    outcome = client.upload(path, OBJECT, MD5)
    assert outcome == Outcome(OBJECT, State.UPLOADED, path, len(DATA), MD5)
    assert site.fake.objects[OBJECT].data == DATA
    assert site.fake.objects[OBJECT].md5 == MD5
    assert calls(site) == [
        "GET /upload/ID",
        f"GET /upload/ID/status?fileSize={len(DATA)}",
        f"POST /upload/ID/uploads?fileSize={len(DATA)}&overwrite=false&md5={MD5}",
        "POST /upload/ID?uploadId=upload-1",
        "GET /upload/ID",
    ]
    assert os.listdir(path.parent) == ["a.bam"]


def test_without_an_md5_the_files_own_is_used(client: Client, site: FaultyScore, path: Path) -> None:
    assert client.upload(path, OBJECT).md5 == MD5
    assert site.fake.objects[OBJECT].md5 == MD5


def test_it_is_told_that_the_md5_is_computed(client: Client, site: FaultyScore, path: Path) -> None:
    client.upload(path, OBJECT)
    assert checked(site) == len(DATA)
    before, then = site.heard.of(Planned)
    assert (before.item, before.size, before.done) == (str(path), len(DATA), 0)
    assert (then.size, then.parts, then.done) == (len(DATA), 6, 0)
    assert {event.item for event in site.heard.of(Checked)} == {str(path)}


def test_an_md5_in_capitals_is_the_same(client: Client, path: Path) -> None:
    assert client.upload(path, OBJECT, MD5.upper()).state is State.UPLOADED


def test_an_empty_file_works(client: Client, site: FaultyScore, path: Path) -> None:
    path.write_bytes(b"")
    assert client.upload(path, OBJECT).state is State.UPLOADED
    assert site.fake.objects[OBJECT].data == b""


def test_the_store_never_sees_the_token(client: Client, site: FaultyScore, path: Path) -> None:
    client.upload(path, OBJECT, MD5)
    token = client.settings.token
    carried = {
        (exchange.path.startswith("/store/"), token in str(exchange.headers)) for exchange in site.traffic.seen()
    }
    assert carried == {(True, False), (False, True)}


@pytest.mark.parametrize(("object_id", "md5"), [("x", MD5), (OBJECT, "abc")])
def test_nonsense_is_refused_before_anything_is_asked(
    client: Client, site: FaultyScore, path: Path, object_id: str, md5: str
) -> None:
    with pytest.raises(Invalid):
        client.upload(path, object_id, md5)
    assert site.traffic.seen() == []

"""What is in the store already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import State
from score.errors import AlreadyExists
from score.testing.faults import Answer
from score.testing.score import FaultyScore

from .conftest import DATA, MD5, OBJECT, calls


class TestExisting:
    def test_the_same_file_is_already_there(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, DATA)
        assert client.upload(path, OBJECT, MD5).state is State.PRESENT
        assert site.puts == []
        (asked,) = site.traffic.seen(path="/download/")
        assert asked.query == "offset=0&length=-1&exclude-urls=true"

    def test_state_left_behind_is_cleaned_up(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, DATA)
        (path.parent / f".{OBJECT}").mkdir()
        (path.parent / f".{OBJECT}" / "uploadId").write_text("upload-1\n")
        client.upload(path, OBJECT, MD5)
        assert os.listdir(path.parent) == ["a.bam"]

    @pytest.mark.parametrize(
        ("data", "known", "says"),
        [
            (DATA[:-1], True, rf"with {len(DATA) - 1:,} bytes instead of {len(DATA):,}"),
            (DATA[::-1], True, rf"with MD5 [0-9a-f]{{32}} instead of {MD5}"),
            (DATA, False, "the server does not know its MD5"),
        ],
    )
    def test_another_one_is_not_replaced(
        self, client: Client, site: FaultyScore, path: Path, data: bytes, known: bool, says: str
    ) -> None:
        site.fake.add(OBJECT, data, whole_md5=known)
        with pytest.raises(AlreadyExists, match=says) as caught:
            client.upload(path, OBJECT, MD5)
        assert "--force" in caught.value.hint
        assert site.fake.objects[OBJECT].data == data

    def test_one_that_cannot_be_compared_is_not_replaced(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, DATA)
        site.traffic.inject(Answer(403, b"Token missing required scope"), path="/download/")
        with pytest.raises(AlreadyExists, match=r"cannot be compared .*Token missing required scope"):
            client.upload(path, OBJECT, MD5)

    def test_one_that_came_during_the_upload_is_replaced_with_force_only(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        came = Answer(500, b'{"message":"The object %s exists. Ask for overwrite to replace it."}' % OBJECT.encode())
        site.traffic.inject(came, method="POST", path=f"{OBJECT}$", times=2)
        with pytest.raises(AlreadyExists, match=f"{OBJECT} is in the store; it was not replaced") as caught:
            client.upload(path, OBJECT, MD5)
        assert caught.value.hint == "To replace it: --force."
        assert client.upload(path, OBJECT, MD5, force=True).state is State.UPLOADED
        assert f"POST /upload/ID/uploads?fileSize={len(DATA)}&overwrite=true&md5={MD5}" in calls(site)
        assert site.fake.objects[OBJECT].data == DATA

    def test_with_force_it_is_replaced(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, b"other")
        assert client.upload(path, OBJECT, MD5, force=True).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == DATA
        assert f"POST /upload/ID/uploads?fileSize={len(DATA)}&overwrite=true&md5={MD5}" in calls(site)

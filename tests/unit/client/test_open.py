"""Objects as files, by the SDK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.settings import Settings
from score.errors import Cancelled, Invalid, NotFound
from score.testing.score import FaultyScore

OBJECT = "9a63b2e3-9a0d-5a1b-8a73-0a1d5f1f0001"
DATA = b"0123456789" * 100_000


def test_an_object_is_opened_as_a_file(site: FaultyScore, client: Client) -> None:
    site.fake.add(OBJECT, DATA)
    with client.open(OBJECT) as file:
        file.seek(-5, 2)
        assert file.read() == b"56789"
        assert file.name == OBJECT
    assert len(site.traffic.seen(path="/store/")) == 1


def test_what_cannot_be_opened(client: Client) -> None:
    with pytest.raises(NotFound):
        client.open(OBJECT)
    with pytest.raises(Invalid, match="not an object id"):
        client.open("x.bam")


def test_the_client_closes_what_it_opened(site: FaultyScore, client: Client) -> None:
    site.fake.add(OBJECT, DATA)
    file = client.open(OBJECT)
    client.close()
    with pytest.raises(Cancelled):
        file.read(10)


def test_what_was_read_is_kept_on_the_disk_where_a_setting_says_so(site: FaultyScore, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    settings = replace(Settings(site.url), cache_disk=0.01, cache_folder=folder)
    with Client(settings) as client, pytest.raises(NotFound, match="cache: No such file"):
        client.open(OBJECT)
    folder.mkdir()
    for there, chosen in ((True, settings), (False, replace(settings, cache_disk=0.0))):
        with Client(chosen) as client:
            cache = client.shared.cache
            block = bytes(client.shared.block)
            for number in range(cache.capacity // len(block) + 2):
                cache.put(number, block)
            assert cache.holds(0) == there
    assert list(folder.iterdir()) == []

"""Programs that are killed in the middle of a transfer, and go on without doing finished work again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.testing.faults import Exchange
from score.testing.site import Site, md5_of

PART = 5 * MIB
PARTS = 8
SIZE = PART * (PARTS - 1) + 2 * MIB
ALL = set(range(1, PARTS + 1))

Maker = Callable[[str, int], Path]


@pytest.fixture
def moment() -> int:
    """After how many finished parts it happens."""
    return random.randint(1, PARTS - 2)


@pytest.fixture
def inside() -> int:
    """At which byte of the parts that are under way it happens."""
    return random.randint(0, MIB)


def recorded(out: Path, identity: str) -> set[int]:
    """The numbers of the parts that a download has finished, by the files that record them."""
    return {int(path.name.removeprefix("part-")[:8], 16) for path in (out / f".{identity}").glob("part-*")}


def part_of(exchange: Exchange) -> int:
    """Which part a GET of a range was for."""
    return int(exchange.range.removeprefix("bytes=").partition("-")[0]) // PART + 1


def test_a_killed_client_goes_on(site: Site, make_file: Maker, tmp_path: Path, moment: int, inside: int) -> None:
    source = make_file("reads.fastq", SIZE)
    files = site.register([source])

    gate = site.store.hold(method="PUT", query="partNumber", skip=moment, after=inside)
    with site.start("upload", "--manifest", files.manifest) as client:
        gate.wait_for_arrival()
        site.score.wait_for(moment, method="POST", path="/parts$", status=200)
        client.kill()
    before = site.finished(files.id)
    assert len(before) >= moment
    assert not site.has_object(files.id)

    site.heal()
    site.run("upload", "--manifest", files.manifest)
    again = {call.part for call in site.sent(files.id)}
    assert again == ALL - before, f"{moment=} {inside=}"
    site.publish(files)

    out = tmp_path / "out"
    gate = site.store.hold(method="GET", path=site.path_of(files.id), skip=moment, after=inside)
    with site.start("download", "--object-id", files.id, "--output-dir", out) as client:
        gate.wait_for_arrival()
        client.wait_until(lambda: len(recorded(out, files.id)) >= moment)
        client.kill()
    before_download = recorded(out, files.id)
    assert not (out / source.name).exists()

    site.heal()
    site.run("download", "--object-id", files.id, "--output-dir", out)
    assert {part_of(call) for call in site.fetched(files.id)} == ALL - before_download, f"{moment=} {inside=}"
    assert md5_of(out / source.name) == md5_of(source)
    assert [path.name for path in out.iterdir()] == [source.name]


def test_a_killed_server_comes_back(site: Site, make_file: Maker, tmp_path: Path, moment: int, inside: int) -> None:
    source = make_file("reads.fastq", SIZE)
    files = site.register([source])

    gate = site.store.hold(method="PUT", query="partNumber", skip=moment, after=inside)
    with site.start("upload", "--manifest", files.manifest, storage_retryNumber="12") as client:
        gate.wait_for_arrival()
        site.score.wait_for(moment, method="POST", path="/parts$", status=200)
        before = site.finished(files.id)
        site.server.kill()
        gate.open()
        site.score.wait(lambda seen: any(call.end == "upstream gone" for call in seen))
        site.server.start()
        client.conclude()
    assert site.finished(files.id) == ALL
    assert sorted(call.part for call in site.sent(files.id) if call.part in before) == sorted(before)
    site.publish(files)

    out = tmp_path / "out"
    gate = site.store.hold(method="GET", path=site.path_of(files.id), skip=moment, after=inside)
    arguments = ["download", "--object-id", files.id, "--output-dir", out]
    with site.start(*arguments, storage_retryNumber="12") as client:
        gate.wait_for_arrival()
        client.wait_until(lambda: len(recorded(out, files.id)) >= moment)
        before = recorded(out, files.id)
        site.server.kill()
        gate.open()
        if site.store is site.score:
            site.store.wait(lambda seen: any(call.end == "upstream gone" for call in seen))
        site.server.start()
        client.conclude()
    whole = [part_of(call) for call in site.fetched(files.id) if call.end == "answered"]
    assert sorted(whole) == sorted(ALL)
    assert md5_of(out / source.name) == md5_of(source)


def test_the_server_is_killed_while_it_completes(site: Site, make_file: Maker) -> None:
    source = make_file("reads.fastq", PART + 1)
    files = site.register([source])
    gate = site.score.hold(method="POST", path=f"/upload/{files.id}$", query="uploadId")
    with site.start("upload", "--manifest", files.manifest, storage_retryNumber="12") as client:
        gate.wait_for_arrival()
        site.server.kill()
        gate.open()
        site.score.wait(lambda seen: any(call.end == "upstream gone" for call in seen))
        site.server.start()
        client.conclude()
    assert sorted(call.part for call in site.sent(files.id)) == [1, 2]
    site.publish(files)


@pytest.mark.parametrize("command", ["upload", "download"])
def test_an_interrupt_says_how_to_go_on(site: Site, make_file: Maker, tmp_path: Path, command: str) -> None:
    source = make_file("reads.fastq", 4 * PART)
    files = site.register([source])
    out = tmp_path / "out"
    arguments = {
        "upload": ["upload", "--manifest", files.manifest],
        "download": ["download", "--object-id", files.id, "--output-dir", out],
    }
    if command == "download":
        site.run(*arguments["upload"])
        site.publish(files)
    method = "PUT" if command == "upload" else "GET"
    gate = site.store.hold(method=method, path=site.path_of(files.id), skip=1, after=1000)
    with site.start(*arguments[command]) as client:
        gate.wait_for_arrival()
        client.interrupt()
        result = client.conclude(130)
    assert "again" in result.stderr
    assert site.has_object(files.id) == (command == "download")
    assert not (out / source.name).exists()
    site.heal()
    site.run(*arguments[command])
    assert site.has_object(files.id)
    assert command == "upload" or md5_of(out / source.name) == md5_of(source)

"""An object is moved by one run at a time, wherever its state lies."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from score import Client, Note, Transfer
from score.errors import Conflict
from score.testing.faults import Answer
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

OBJECT = "5c0eca11-0000-4000-8000-000000000020"
DATA = bytes(range(256)) * 1300
MakeClient = Callable[..., Client]


@pytest.fixture
def path(tmp_path: Path, song: FakeSong) -> Path:
    """A registered file of six parts."""
    file = tmp_path / "in" / "a.bam"
    file.parent.mkdir()
    file.write_bytes(DATA)
    song.register("a.bam", analysis="a", object_id=OBJECT, size=len(DATA), md5=hashlib.md5(DATA).hexdigest())
    song.set_state("a", "UNPUBLISHED")
    return file


def both(site: FaultyScore, make_client: MakeClient, begin: Callable[[Client], Transfer[object]]) -> None:
    """Begin twice: the first one is held in the middle while the second one is refused."""
    first = make_client()
    gate = site.traffic.hold(path="/store/", after=1000, skip=1)
    transfer = begin(first)
    gate.wait_for_arrival()
    with pytest.raises(Conflict, match=r"is being transferred here already, by process \d+ on"):
        begin(make_client()).result()
    site.traffic.heal()
    transfer.result()


def test_beside_the_file(site: FaultyScore, make_client: MakeClient, path: Path) -> None:
    both(site, make_client, lambda client: client.begin(client.upload, path, OBJECT))
    assert list(path.parent.iterdir()) == [path]


def test_in_a_folder_of_the_users_choice_that_is_not_there_yet(
    site: FaultyScore, make_client: MakeClient, path: Path, tmp_path: Path
) -> None:
    state = tmp_path / "deep" / "state"
    both(
        site,
        lambda: make_client(upload_state=state),
        lambda client: client.begin(client.upload, path, OBJECT),
    )
    assert list(state.iterdir()) == []
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (state, state.parent)} == {0o700}


def test_in_the_users_state_folder_where_the_files_is_read_only(
    site: FaultyScore, make_client: MakeClient, path: Path, home: Path
) -> None:
    path.parent.chmod(0o555)
    unprivileged(lambda: both(site, make_client, lambda client: client.begin(client.upload, path, OBJECT)))
    (home / "state" / "score" / "uploads").rmdir()
    assert stat.S_IMODE((home / "state" / "score").stat().st_mode) == 0o700


def test_an_index_that_comes_along_is_left_to_who_fetches_it(
    site: FaultyScore, make_client: MakeClient, song: FakeSong, tmp_path: Path
) -> None:
    """The tasks of a job array, of which one has the index by its own name."""
    index = OBJECT.replace("20", "21")
    for name, one in (("a.bam", OBJECT), ("a.bam.bai", index)):
        song.register(name, analysis="a", object_id=one, size=len(DATA))
        site.fake.add(one, DATA)
    gate = site.traffic.hold(method="GET", path=f"/store/.*{index}", after=1000)
    first = make_client()
    transfer = first.begin(first.download, [index], tmp_path / "out")
    gate.wait_for_arrival()
    (outcome,) = make_client().download([OBJECT], tmp_path / "out")
    assert (outcome.object_id, outcome.good) == (OBJECT, True)
    assert [note.item.rpartition("/")[2] for note in site.heard.of(Note)] == ["a.bam.bai"]
    site.traffic.heal()
    assert transfer.result()[0].good
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.bam", "a.bam.bai"]


def test_of_several_files_the_others_are_moved(
    site: FaultyScore, make_client: MakeClient, song: FakeSong, tmp_path: Path
) -> None:
    ids = [OBJECT, OBJECT.replace("20", "21")]
    for number, one in enumerate(ids):
        song.register(f"{number}.vcf", analysis=str(number), object_id=one, size=len(DATA))
        site.fake.add(one, DATA)
    gate = site.traffic.hold(method="GET", path=f"/store/.*{ids[0]}", after=1000)
    first = make_client()
    transfer = first.begin(first.download, ids[:1], tmp_path / "out")
    gate.wait_for_arrival()
    refused, moved = make_client().download(ids, tmp_path / "out")
    assert isinstance(refused.error, Conflict)
    assert moved.good
    site.traffic.heal()
    assert transfer.result()[0].good
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.vcf", "1.vcf"]


def test_a_small_object_is_gathered_in_the_file_of_its_lock(
    site: FaultyScore, make_client: MakeClient, song: FakeSong, tmp_path: Path
) -> None:
    song.register("a.vcf", analysis="a", object_id=OBJECT, size=1000)
    site.fake.add(OBJECT, DATA[:1000])
    out, before = tmp_path / "out", tmp_path / "new"
    before.touch()
    gate = site.traffic.hold(method="GET", path=f"/store/.*{OBJECT}", after=500)
    first = make_client()
    transfer = first.begin(first.download, [OBJECT], out)
    gate.wait_for_arrival()
    (refused,) = make_client().download([OBJECT], out)
    assert isinstance(refused.error, Conflict)
    assert "is being transferred here already, by another process" in refused.error.message
    (lock,) = out.iterdir()
    assert (lock.name, stat.S_IMODE(lock.stat().st_mode)) == (f".{OBJECT}.lock", 0o600)
    site.traffic.heal()
    assert transfer.result()[0].good
    (path,) = out.iterdir()
    assert path.read_bytes() == DATA[:1000]
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(before.stat().st_mode)


def test_nothing_is_said_to_be_kept_of_a_small_object_whose_place_is_taken(
    site: FaultyScore, make_client: MakeClient, song: FakeSong, tmp_path: Path
) -> None:
    song.register("a.vcf", analysis="a", object_id=OBJECT, size=1000)
    site.fake.add(OBJECT, DATA[:1000])
    place = tmp_path / "out" / "a.vcf"
    gate = site.traffic.hold(method="GET", path=f"/store/.*{OBJECT}", after=500)
    client = make_client()
    transfer = client.begin(client.download, [OBJECT], tmp_path / "out")
    gate.wait_for_arrival()
    place.write_bytes(b"of somebody else")
    site.traffic.heal()
    error = transfer.result()[0].error
    assert isinstance(error, Conflict)
    assert error.hint == "Remove what is there, or add --force."
    assert [path.name for path in place.parent.iterdir()] == ["a.vcf"]
    assert place.read_bytes() == b"of somebody else"


def test_a_small_object_that_fails_leaves_nothing(
    site: FaultyScore, make_client: MakeClient, song: FakeSong, tmp_path: Path
) -> None:
    song.register("a.vcf", analysis="a", object_id=OBJECT, size=1000)
    site.fake.add(OBJECT, DATA[:1000])
    site.traffic.inject(Answer(400), path="/store/", times=None)
    (outcome,) = make_client().download([OBJECT], tmp_path / "out")
    assert not outcome.good
    assert list((tmp_path / "out").iterdir()) == []

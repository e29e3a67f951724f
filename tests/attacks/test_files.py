"""Attacks on the client's files: names that lead elsewhere, links in the output folder, curious neighbours."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout, plain
from score.client.manifest_source import Source
from score.client.manifests import parse_download
from score.client.settings import advice, read
from score.errors import Integrity, Invalid, Misconfigured, ScoreError
from score.protocol.wire import to_json
from score.slicing.inputs import local, remote
from score.slicing.records import Format
from score.slicing.view import Request, view
from score.storage.local import LocalStore
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong, SongFile
from score.transfer.events import PartDone
from score.transfer.journal import UploadJournal

DATA = b"d" * 50_000
VICTIM = b"what must stay as it is"


class Folder:
    """An output folder with a file beside it that must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.out = root / "out"
        self.out.mkdir()
        self.elsewhere = root / "elsewhere"
        self.elsewhere.mkdir()
        self.victim = self.elsewhere / "victim"
        self.victim.write_bytes(VICTIM)
        self._root = root

    def check(self) -> None:
        """Nothing outside the output folder was made or changed."""
        assert self.victim.read_bytes() == VICTIM
        assert list(self.elsewhere.iterdir()) == [self.victim]
        assert {path.name for path in self._root.iterdir()} <= {"out", "elsewhere", "home"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return Folder(tmp_path)


@pytest.fixture
def add(site: FaultyScore, song: FakeSong) -> Callable[..., SongFile]:
    """Registers a file and puts its object in place."""

    def add(name: str = "f.bam", analysis: str = "", data: bytes = DATA) -> SongFile:
        file = song.register(
            name, analysis=analysis or str(uuid.uuid4()), size=len(data), md5=hashlib.md5(data).hexdigest()
        )
        site.fake.add(file.object_id, data)
        return file

    return add


def failure(
    client: Client, file: SongFile, out: Path, layout: Layout = Layout.FILENAME, *, force: bool = False
) -> ScoreError:
    """The error that a download ends with."""
    (outcome,) = client.download([file.object_id], out, layout=layout, index=False, force=force)
    assert outcome.error is not None
    return outcome.error


NAMES = [
    "../elsewhere/victim", "../../x", "..", ".", "", "/etc/passwd", "a/../../elsewhere/victim", "a\\..\\..\\x",
    "C:\\x", "\\\\host\\share\\x", "a\x00b", "a\nb", "a\x1b]0;x\x07", "\x9b2J", "bam.\u202egpj", "a\u2028b",
    "~/x\x7f",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_from_the_registry_stay_within_the_folder(
    client: Client, add: Callable[..., SongFile], folder: Folder, name: str
) -> None:
    error = failure(client, add(name), folder.out)
    assert isinstance(error, Invalid)
    assert str(error).isprintable(), "no control character reaches a terminal"
    folder.check()
    assert list(folder.out.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_names_from_the_registry_stay_within_the_folder_of_slices(
    client: Client, add: Callable[..., SongFile], folder: Folder, name: str
) -> None:
    with (
        pytest.raises(Invalid, match="is not a plain file name") as raised,
        remote(client, add(name).object_id, indexed=True),
    ):
        pass
    assert str(raised.value).isprintable()
    folder.check()


def test_links_in_the_places_of_slices(tmp_path: Path, folder: Folder) -> None:
    sam = tmp_path / "out" / "in.sam"
    sam.write_text("@SQ\tSN:c\tLN:9\nr\t0\tc\t1\t60\t4M\t*\t0\t0\tACGT\tFFFF\n")
    for name in ("in.bam", "in.bam.bai"):
        (folder.out / name).symlink_to(folder.victim)
    request = Request(output_dir=folder.out, format=Format.BAM, output_index=True)
    with local(sam, None, lambda text: None) as item:
        view(item, request)
    assert not (folder.out / "in.bam").is_symlink()
    assert not (folder.out / "in.bam.bai").is_symlink()
    folder.check()


@pytest.mark.parametrize("analysis", ["..", "../elsewhere", "/etc", ".", "a/b"])
def test_analysis_ids_from_the_registry_stay_within_the_folder(
    client: Client, add: Callable[..., SongFile], folder: Folder, analysis: str
) -> None:
    assert isinstance(failure(client, add("victim", analysis), folder.out, Layout.BUNDLE), Invalid)
    folder.check()


@pytest.mark.parametrize("name", ["CON", "nul.txt", "com1", "LPT9.bam", "a.", "a ", "a?b", 'a"b', "a<b", "a|b"])
def test_names_that_windows_takes_for_something_else(name: str) -> None:
    with pytest.raises(Invalid):
        plain(name, "File name", windows=True)
    assert plain(name, "File name", windows=False) == name


def test_names_in_a_manifest_are_not_believed(client: Client, add: Callable[..., SongFile], folder: Folder) -> None:
    """The column of file names is for people; what a file is called is the registry's affair."""
    file = add("f.bam")
    columns = "object_id\tfile_name\n"
    text = f"{columns}{file.object_id}\t../elsewhere/victim\n"
    ids = parse_download(Source.of(text.encode(), "manifest", folder.out)).ids
    (outcome,) = client.download(ids, folder.out, index=False)
    assert outcome.path == folder.out / "f.bam"
    folder.check()
    for wrong in ("../elsewhere/victim", "/etc/passwd", f"../{file.object_id}", f"{file.object_id}/../x"):
        with pytest.raises(Invalid):
            parse_download(Source.of(f"object_id\n{wrong}\n".encode(), "manifest", folder.out))
        with pytest.raises(Invalid):
            client.download([wrong], folder.out)


def test_names_in_answers_of_the_store_are_not_believed(
    client: Client, add: Callable[..., SongFile], folder: Folder, site: FaultyScore
) -> None:
    file = add("f.bam")
    headers = {
        "Content-Disposition": "attachment; filename=\"../elsewhere/victim\"; filename*=UTF-8''%2e%2e%2fvictim",
        "Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}",
        "Content-Location": "/../elsewhere/victim",
        "ETag": '"x"',
    }
    site.traffic.inject(Answer(206, DATA, headers), method="GET", path="/store/", times=None)
    (outcome,) = client.download([file.object_id], folder.out, index=False)
    assert (outcome.error, outcome.path) == (None, folder.out / "f.bam")
    folder.check()


# Links that somebody else put into the output folder


def test_a_link_in_the_place_of_the_file(client: Client, add: Callable[..., SongFile], folder: Folder) -> None:
    file = add("f.bam")
    (folder.out / "f.bam").symlink_to(folder.victim)
    failure(client, file, folder.out)
    folder.check()
    (outcome,) = client.download([file.object_id], folder.out, index=False, force=True)
    assert outcome.error is None
    assert not (folder.out / "f.bam").is_symlink(), "the link itself was replaced"
    folder.check()


@pytest.mark.parametrize("layout", [Layout.FILENAME, Layout.ID])
@pytest.mark.parametrize("force", [False, True])
def test_a_link_in_the_place_of_the_bytes(
    client: Client, add: Callable[..., SongFile], folder: Folder, layout: Layout, force: bool
) -> None:
    file = add("f.bam")
    (folder.out / file.object_id).symlink_to(folder.victim)
    (outcome,) = client.download([file.object_id], folder.out, layout=layout, index=False, force=force)
    assert (outcome.error is None) == force
    folder.check()


def test_a_link_and_the_state_of_a_download_that_never_was(
    client: Client, add: Callable[..., SongFile], folder: Folder
) -> None:
    """Whoever knows the object can forge the state too: the client seems to go on with a file that is a link."""
    file = add("f.bam")
    state = folder.out / f".{file.object_id}"
    state.mkdir()
    (state / "meta").write_bytes(to_json(client.score.download(file.object_id)))
    (folder.out / file.object_id).symlink_to(folder.victim)
    assert "symbolic links" in str(failure(client, file, folder.out))
    folder.check()


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("layout", [Layout.FILENAME, Layout.ID])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_comes_to_the_place_of_the_bytes_during_a_download(
    client: Client,
    add: Callable[..., SongFile],
    folder: Folder,
    part_size: int,
    parts: int,
    layout: Layout,
    force: bool,
    kind: str,
) -> None:
    """All bytes have come, and are proven: of a file that nobody has a name of any more."""
    size = parts * part_size
    file = add("f.bam", data=bytes(size))
    place = folder.out / (file.object_id if parts > 1 else f".{file.object_id}.lock")
    folder.victim.chmod(0o600)
    swapped: list[Path] = []

    def swap(event: object) -> None:
        if not isinstance(event, PartDone) or event.number != parts:
            return
        swapped.append(place)
        place.rename(folder.out / "aside")
        if kind == "link":
            place.symlink_to(folder.victim)
        else:
            place.write_bytes(b"\1" * size)

    settings = replace(client.settings, parallel=1)
    with Client(settings, listener=swap) as swapping:
        error = failure(swapping, file, folder.out, layout, force=force)
    assert swapped == [place]
    assert str(place) in error.message
    assert "Remove" in error.hint
    assert not (folder.out / "f.bam").exists()
    assert mode(folder.victim) == 0o600
    folder.check()


@pytest.mark.parametrize("force", [False, True])
def test_a_link_that_comes_just_before_the_move(
    client: Client, add: Callable[..., SongFile], folder: Folder, force: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(move: Callable[..., None]) -> Callable[..., None]:
        def moved(path: Path, place: Path) -> None:
            if place == folder.out / "f.bam":
                path.unlink()
                path.symlink_to(folder.victim)
            move(path, place)

        return moved

    for call in ("link", "replace"):
        monkeypatch.setattr(os, call, late(getattr(os, call)))
    error = failure(client, add("f.bam"), folder.out, force=force)
    assert isinstance(error, Integrity)
    assert f"{folder.out / 'f.bam'} is not the file that was downloaded" in error.message
    folder.check()


def test_a_link_in_the_place_of_the_state(client: Client, add: Callable[..., SongFile], folder: Folder) -> None:
    file = add("f.bam")
    (folder.out / f".{file.object_id}").symlink_to(folder.elsewhere)
    assert "is a link" in str(failure(client, file, folder.out))
    folder.check()


@pytest.mark.parametrize("name", ["new-meta", "new-part-00000001"])
def test_a_link_within_the_state(client: Client, add: Callable[..., SongFile], folder: Folder, name: str) -> None:
    file = add("f.bam")
    specification = client.score.download(file.object_id)
    state = folder.out / f".{file.object_id}"
    state.mkdir()
    (state / "meta").write_bytes(to_json(specification))
    (folder.out / file.object_id).write_bytes(bytes(len(DATA)))
    (state / name).symlink_to(folder.victim)
    client.download([file.object_id], folder.out, index=False)
    folder.check()


def test_a_link_in_the_place_of_a_bundle(client: Client, add: Callable[..., SongFile], folder: Folder) -> None:
    file = add("f.bam")
    (folder.out / file.analysis).symlink_to(folder.elsewhere)
    assert "is a link" in str(failure(client, file, folder.out, Layout.BUNDLE))
    folder.check()


def test_a_link_in_the_place_of_an_uploads_state(client: Client, song: FakeSong, folder: Folder) -> None:
    path = folder.out / "f.bam"
    path.write_bytes(DATA)
    file = song.register("f.bam", analysis="a", size=len(DATA), md5=hashlib.md5(DATA).hexdigest())
    song.set_state("a", "UNPUBLISHED")
    (folder.out / f".{file.object_id}").symlink_to(folder.elsewhere)
    client.upload(path, file.object_id)
    folder.check()


# Curious neighbours


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_state_is_its_owners_alone(
    client: Client, add: Callable[..., SongFile], folder: Folder, site: FaultyScore, part_size: int
) -> None:
    """It holds signed URLs. Whatever the umask."""
    before = os.umask(0)
    try:
        file = add("f.bam", data=bytes(2 * part_size))
        site.traffic.inject(Answer.denied(), method="GET", path="/store/", times=None)
        failure(client, file, folder.out)
    finally:
        os.umask(before)
    state = folder.out / f".{file.object_id}"
    assert mode(state) == 0o700
    found = sorted(state.iterdir())
    assert found
    assert {mode(path) for path in found} == {0o600}


def test_a_file_planted_in_the_state_learns_nothing(tmp_path: Path) -> None:
    """A neighbour who made the folder of the state, and a file in it that is open, reads nothing there."""
    identity = str(uuid.uuid4())
    (tmp_path / f".{identity}").mkdir()
    planted = tmp_path / f".{identity}" / "new-uploadId"
    planted.touch(0o666)
    with planted.open() as eye:
        UploadJournal(tmp_path, identity, tmp_path / "elsewhere").record("the-upload-id")
        assert eye.read() == ""
    kept = planted.with_name("uploadId")
    assert kept.read_text() == "the-upload-id\n"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_token_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("720dffc1-628f-49f2-992f-f09b8ba2ae2a\n")
    values = read([f"--accessTokenFile={file}"], {}, tmp_path)
    for bits in (0o644, 0o640, 0o606, 0o660):
        file.chmod(bits)
        (said,) = advice(values)
        assert f"chmod 600 {file}" in said
    for bits in (0o600, 0o400):
        file.chmod(bits)
        assert advice(values) == []


def test_the_store_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LocalStore(tmp_path / "a" / "data", "object", base=str)
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "data") == 0o700
    assert mode(tmp_path / "a" / "data" / ".secret") == 0o600
    (tmp_path / "a" / "data" / ".secret").chmod(0o644)
    with pytest.raises(Misconfigured, match="can be read by others"):
        LocalStore(tmp_path / "a" / "data", "object", base=str)

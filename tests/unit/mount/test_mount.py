"""Mounts on FUSE, next to a fake Score and a fake Song: layouts, refusals, faults, ends."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from score.mount import fuse
from score.mount.tree import BLOCK
from score.protocol.ids import object_id as id_of
from score.testing.clients import ClientProcess
from score.testing.faults import Answer
from score.testing.proxy import FaultProxy
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

pytestmark = pytest.mark.needs("fuse")

ANALYSIS = "1c1ad0e2-9d24-4e5c-8a2c-0d8f5b2a0001"
OTHER = "1c1ad0e2-9d24-4e5c-8a2c-0d8f5b2a0002"
DICE = random.Random(7)
DATA = DICE.randbytes(3_000_000)
REFUSED = b'{"message": "Token missing required scope to download controlled-access file"}'
JSON = {"Content-Type": "application/json"}

Put = Callable[..., str]
Start = Callable[..., ClientProcess]
MountIt = Callable[..., AbstractContextManager[ClientProcess]]


@pytest.fixture
def put(site: FaultyScore, song: FakeSong) -> Put:
    """Registers and stores a file; gives its object id."""

    def place(name: str, data: bytes | None = b"data", analysis: str = ANALYSIS, object_id: str | None = None) -> str:
        file = song.register(name, analysis=analysis, size=len(data or b""), object_id=object_id)
        if data is not None:
            site.fake.add(file.object_id, data)
        return file.object_id

    return place


def failure(path: Path) -> int:
    """The number of the error that reading a file ends with."""
    with pytest.raises(OSError) as caught:
        path.read_bytes()
    assert caught.value.errno is not None
    return caught.value.errno


def test_bundles_hold_files_by_name(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    put("a.bam.bai", b"index")
    put("b.vcf", b"", OTHER)
    with mount():
        assert sorted(os.listdir(point)) == [ANALYSIS, OTHER]
        assert sorted(os.listdir(point / ANALYSIS)) == ["a.bam", "a.bam.bai"]
        assert (point / ANALYSIS / "a.bam").stat().st_size == len(DATA)
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        assert (point / OTHER / "b.vcf").read_bytes() == b""
        found = subprocess.run(["find", str(point), "-type", "f"], capture_output=True, text=True, check=True)
        assert len(found.stdout.split()) == 3


def test_the_kernel_asks_for_whole_blocks_where_this_user_may_tell_it(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    with mount():
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        there = fuse.mounted(point)
        assert there is not None
        ahead = fuse.DEVICES / there.device / "read_ahead_kb"
        assert int(ahead.read_text()) >= BLOCK // 1024 or not os.access(ahead, os.W_OK)


def test_object_ids_as_names(put: Put, point: Path, mount: MountIt) -> None:
    ids = [put("a.bam", DATA), put("b.vcf", b"x", OTHER)]
    with mount("--layout", "object-id"):
        assert sorted(os.listdir(point)) == sorted(ids)
        assert (point / ids[0]).read_bytes() == DATA


def test_more_files_than_a_page_of_names(put: Put, point: Path, mount: MountIt) -> None:
    names = {f"{number:05}-with-a-name-that-is-not-short.txt" for number in range(2500)}
    for name in names:
        put(name, None)
    with mount():
        assert set(os.listdir(point / ANALYSIS)) == names
    with mount("--layout", "object-id"):
        assert len(set(os.listdir(point))) == 2500


def test_many_threads_read_what_is_there(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    path = point / ANALYSIS / "a.bam"

    def read(seed: int) -> None:
        dice = random.Random(seed)
        with open(path, "rb", buffering=0) as file:
            for _ in range(50):
                at = dice.randrange(len(DATA))
                size = dice.randrange(300_000)
                assert os.pread(file.fileno(), size, at) == DATA[at : at + size]

    with mount(), ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(16)))


def test_nothing_can_be_written(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    path = point / ANALYSIS / "a.bam"
    with mount():
        for change in (path.unlink, path.touch, (point / "new").mkdir, lambda: path.write_bytes(b"x")):
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EROFS


def test_one_file_that_may_not_be_read_is_one_that_cannot_be_read(
    put: Put, site: FaultyScore, point: Path, mount: MountIt
) -> None:
    put("open.bam", DATA)
    refused = put("refused.bam", DATA)
    unpublished = put("unpublished.bam", DATA)
    put("absent.bam", None)
    site.traffic.inject(Answer(403, REFUSED, JSON), path=f"/download/{refused}", times=None)
    site.traffic.inject(
        Answer(400, b'{"message": "not published"}', JSON), path=f"/download/{unpublished}", times=None
    )
    with mount() as client:
        assert sorted(os.listdir(point / ANALYSIS)) == ["absent.bam", "open.bam", "refused.bam", "unpublished.bam"]
        assert failure(point / ANALYSIS / "refused.bam") == errno.EACCES
        assert (point / ANALYSIS / "refused.bam").stat().st_size == len(DATA)
        assert failure(point / ANALYSIS / "absent.bam") == errno.ENOENT
        assert failure(point / ANALYSIS / "nothing.bam") == errno.ENOENT
        assert failure(point / "nothing") == errno.ENOENT
        assert failure(point / ANALYSIS / "unpublished.bam") == errno.EACCES
        assert (point / ANALYSIS / "open.bam").read_bytes() == DATA
        assert "refused.bam: " in client.stderr
        assert "Token missing required scope" in client.stderr


def test_sizes_come_from_the_server_where_the_registry_does_not_tell(
    put: Put, site: FaultyScore, song_proxy: FaultProxy, point: Path, mount: MountIt
) -> None:
    put("a.bam", DATA)
    refused = put("refused.bam", DATA)
    song_proxy.traffic.inject(Answer(404), path="/studies/", times=None)
    site.traffic.inject(Answer(403, REFUSED, JSON), path=f"/download/{refused}", times=None)
    with mount():
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        found = (point / ANALYSIS / "refused.bam").stat()
        assert (found.st_size, found.st_mode & 0o777) == (0, 0)
        assert failure(point / ANALYSIS / "refused.bam") == errno.EACCES


def test_sizes_of_a_bundle_are_asked_for_once(
    put: Put, song_proxy: FaultProxy, site: FaultyScore, point: Path, mount: MountIt
) -> None:
    for number in range(20):
        put(f"{number}.txt", b"x" * number)
    with mount():
        for name in os.listdir(point / ANALYSIS):
            assert (point / ANALYSIS / name).stat().st_size == int(name.removesuffix(".txt"))
    assert len(song_proxy.traffic.seen(path="/studies/")) == 1
    assert site.traffic.seen(path="/download/", query="exclude") == []


def test_nobody_waits_again_for_a_registry_that_just_did_not_answer(
    put: Put, song_proxy: FaultProxy, point: Path, mount: MountIt
) -> None:
    """``ls -l`` asks for one file of a folder after the other, and would wait for each."""
    put("a.bam", DATA)
    put("b.bam", DATA, analysis=OTHER)
    song_proxy.traffic.inject(Answer(503), path="/studies/", times=None)
    with mount(storage_retryNumber="3"):
        assert sorted(os.listdir(point)) == sorted([ANALYSIS, OTHER])
        for path in (point / ANALYSIS / "a.bam", point / OTHER / "b.bam"):
            with pytest.raises(OSError) as caught:
                path.stat()
            assert caught.value.errno == errno.EIO
            assert len(song_proxy.traffic.seen(path="/studies/")) == 3


def test_a_size_that_was_registered_wrong_cuts_nothing(
    site: FaultyScore, song: FakeSong, point: Path, mount: MountIt
) -> None:
    for name, size in (("long.bam", 2 * len(DATA)), ("short.bam", 10)):
        site.fake.add(song.register(name, analysis=ANALYSIS, size=size).object_id, DATA)
    with mount() as client:
        for name in ("long.bam", "short.bam"):
            path = point / ANALYSIS / name
            assert path.stat().st_size != len(DATA)
            for _ in range(2):  # the kernel remembers for a while what it was told
                copied = subprocess.run(["cat", str(path)], capture_output=True, check=True)
                assert copied.stdout == DATA
        assert "3,000,000 bytes, not 10 as registered" in client.stderr


def test_equal_names_do_not_hide_one_another(put: Put, point: Path, mount: MountIt) -> None:
    first, second, odd = (str(uuid.UUID(int=number)) for number in range(3))
    put("a.bam", b"one", object_id=first)
    put("a.bam", b"two", object_id=second)
    put("../evil", b"three", object_id=odd)
    put("b.bam", b"four")
    with mount():
        found = {path.name: path.read_bytes() for path in (point / ANALYSIS).iterdir()}
    assert found == {f"{first}-a.bam": b"one", f"{second}-a.bam": b"two", odd: b"three", "b.bam": b"four"}


def test_a_bundle_is_there_before_the_list_is(put: Put, song_proxy: FaultProxy, point: Path, mount: MountIt) -> None:
    object_id = put("a.bam", DATA)
    put("b.bam", DATA)
    gate = song_proxy.traffic.hold(path="^/entities$", query="fields=")
    with mount():
        assert sorted(os.listdir(point / ANALYSIS)) == ["a.bam", "b.bam"]
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        with ThreadPoolExecutor(1) as pool:
            listed = pool.submit(os.listdir, point)
            assert not listed.done()
            gate.open()
            assert listed.result() == [ANALYSIS]
    gate = song_proxy.traffic.hold(path="^/entities$", query="fields=")
    with mount("--layout", "object-id"):
        assert (point / object_id).read_bytes() == DATA
        gate.open()


def test_a_list_that_failed_is_told_of_and_tried_again(
    put: Put, song_proxy: FaultProxy, point: Path, mount: MountIt
) -> None:
    put("a.bam", DATA)
    rule = Answer(500)
    song_proxy.traffic.inject(rule, path="^/entities$", query="fields=", times=None)
    with mount(storage_retryNumber="1") as client:
        with pytest.raises(OSError) as caught:
            os.listdir(point)
        assert caught.value.errno == errno.EIO
        assert "The list of files is not complete" in client.stderr
        song_proxy.traffic.heal()
        assert os.listdir(point) == [ANALYSIS]


def test_a_manifest_names_all_there_is(
    put: Put, song_proxy: FaultProxy, tmp_path: Path, point: Path, mount: MountIt
) -> None:
    wanted = put("a.bam", DATA)
    put("a.bam.bai", b"index")
    put("other.bam", DATA)
    named = put("odd-index", b"index", OTHER)
    put("c.bam", DATA, OTHER)
    absent = str(uuid.uuid4())
    manifest = tmp_path / "manifest.txt"
    manifest.write_text(f"object_id\tindex_object_id\n{wanted}\t{named}\n{absent}\t\n")
    with mount("--manifest", manifest) as client:
        found = sorted(str(path.relative_to(point)) for path in point.rglob("*") if path.is_file())
        assert found == sorted([f"{ANALYSIS}/a.bam", f"{ANALYSIS}/a.bam.bai", f"{OTHER}/odd-index"])
        assert f"{absent}: left out: " in client.stderr
    assert song_proxy.traffic.seen(path="^/entities$", query="fields=") == []


def test_the_kept_list_of_a_manifest_is_renewed(
    put: Put, song_proxy: FaultProxy, tmp_path: Path, point: Path, mount: MountIt
) -> None:
    """Files that were registered since are added; what was known serves until then."""
    wanted, late = put("a.bam", DATA), id_of(OTHER, "late.bam")
    manifest = tmp_path / "manifest.txt"
    manifest.write_text(f"object_id\n{wanted}\n{late}\n")
    with mount("--manifest", manifest, "--cache-metadata") as client:
        assert os.listdir(point) == [ANALYSIS]
        assert f"{late}: left out: " in client.stderr
    assert put("late.bam", DATA, OTHER) == late
    put("a.bam.bai", b"index")
    gate = song_proxy.traffic.hold(path="/entities", times=None)
    with mount("--manifest", manifest, "--cache-metadata") as client:
        gate.wait_for_arrival()
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        assert os.listdir(point) == [ANALYSIS]
        gate.open()
        client.wait_until(lambda: sorted(os.listdir(point)) == sorted([ANALYSIS, OTHER]))
        assert (point / OTHER / "late.bam").read_bytes() == DATA
        client.wait_until(lambda: sorted(os.listdir(point / ANALYSIS)) == ["a.bam", "a.bam.bai"])


def test_reads_wait_for_a_store_that_is_away(put: Put, site: FaultyScore, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    with mount(storage_retryNumber="1000") as client, open(point / ANALYSIS / "a.bam", "rb", buffering=0) as file:
        site.traffic.inject(Answer.unavailable(), path="/store/", times=None)
        with ThreadPoolExecutor(1) as pool:
            data = pool.submit(file.read, 1000)
            client.wait_until(lambda: "retry 1/" in client.stderr)
            assert not data.done()
            site.traffic.heal()
            assert data.result() == DATA[:1000]


def test_after_the_limit_a_read_fails_and_the_next_one_may_succeed(
    put: Put, site: FaultyScore, point: Path, mount: MountIt
) -> None:
    put("a.bam", DATA)
    with mount(storage_retryNumber="2") as client:
        site.traffic.inject(Answer.unavailable(), path="/store/", times=None)
        with open(point / ANALYSIS / "a.bam", "rb", buffering=0) as file:
            with pytest.raises(OSError) as caught:
                file.read(1000)
            assert caught.value.errno == errno.EIO
            assert "a.bam: " in client.stderr
            assert "gave up after 2 tries" in client.stderr
            site.traffic.heal()
            assert file.read(1000) == DATA[:1000]


def test_urls_are_renewed_in_the_middle_of_a_file(put: Put, site: FaultyScore, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    with mount(), open(point / ANALYSIS / "a.bam", "rb", buffering=0) as file:
        assert file.read(1000) == DATA[:1000]
        site.fake.expire()
        assert os.pread(file.fileno(), 1000, 2_900_000) == DATA[2_900_000:2_901_000]


def test_an_object_that_is_replaced_is_never_mixed(put: Put, site: FaultyScore, point: Path, mount: MountIt) -> None:
    object_id = put("a.bam", DATA)
    path = point / ANALYSIS / "a.bam"
    fresh = DICE.randbytes(2_000_000)
    with mount() as client:
        with open(path, "rb", buffering=0) as file:
            assert file.read(1000) == DATA[:1000]
            site.fake.add(object_id, fresh)
            with pytest.raises(OSError) as caught:
                os.pread(file.fileno(), 1000, 2_500_000)
            assert caught.value.errno == errno.EIO
            assert "was replaced" in client.stderr
        for _ in range(2):
            copied = subprocess.run(["cat", str(path)], capture_output=True, check=True)
            assert copied.stdout == fresh


def test_an_object_that_grows_is_read_to_its_end_each_time(
    put: Put, site: FaultyScore, point: Path, mount: MountIt
) -> None:
    object_id = put("a.bam", DATA[:1_000_000])
    path = point / ANALYSIS / "a.bam"
    with mount("--options", "attr_timeout=600"):
        assert path.stat().st_size == 1_000_000
        site.fake.add(object_id, DATA)
        for _ in range(3):
            copied = subprocess.run(["cat", str(path)], capture_output=True, check=True)
            assert copied.stdout == DATA


def test_opens_are_written_to_the_log_where_that_is_wanted(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", b"x")
    with mount(mount_logging="true") as client:
        (point / ANALYSIS / "a.bam").read_bytes()
        client.wait_until(lambda: "a.bam: closed" in client.stderr)
        assert "a.bam: opened" in client.stderr


def test_a_kept_list_serves_while_song_is_away(
    put: Put, song_proxy: FaultProxy, tmp_path: Path, point: Path, mount: MountIt
) -> None:
    put("a.bam", DATA)
    with mount("--cache-metadata"):
        assert os.listdir(point) == [ANALYSIS]
        assert (point / ANALYSIS / "a.bam").stat().st_size == len(DATA)
    song_proxy.shut()
    with mount("--cache-metadata", storage_retryNumber="1"):
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        assert os.listdir(point) == [ANALYSIS]
    song_proxy.open()
    put("b.bam", DATA)
    (kept,) = (tmp_path / "home" / ".cache" / "score").glob("mount-*.sqlite")
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_bytes(b"no database" * 1000)
    with mount("--cache-metadata"):
        assert sorted(os.listdir(point / ANALYSIS)) == ["a.bam", "b.bam"]


def test_a_list_that_cannot_be_kept_is_not_taken_for_whole(
    put: Put, song_proxy: FaultProxy, tmp_path: Path, point: Path, mount: MountIt
) -> None:
    put("a.bam", DATA)
    gate = song_proxy.traffic.hold(path="^/entities$", query="fields=")
    with mount("--cache-metadata") as client:
        gate.wait_for_arrival()
        (kept,) = (tmp_path / "home" / ".cache" / "score").glob("mount-*.sqlite")
        kept.write_bytes(b"no database" * 1000)
        gate.open()
        client.wait_until(lambda: "The list of files is not complete" in client.stderr)
        with pytest.raises(OSError) as caught:
            os.listdir(point)
        assert caught.value.errno == errno.EIO
        assert f"cannot be kept in {kept}" in client.stderr


def test_a_signal_before_there_is_a_mount(
    put: Put, start: Start, tmp_path: Path, point: Path, mount: MountIt
) -> None:
    """It is waiting for the kept list, which another process has locked."""
    put("a.bam", DATA)
    with mount("--cache-metadata"):
        os.listdir(point)
    (kept,) = (tmp_path / "home" / ".cache" / "score").glob("mount-*.sqlite")
    lock = sqlite3.connect(kept, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        with start("mount", "--mount-point", point, "--cache-metadata") as client:
            process = Path(f"/proc/{client.pid}")
            client.wait_until(lambda: any(one.resolve() == kept for one in (process / "fd").iterdir()))
            os.kill(client.pid, signal.SIGTERM)
            client.wait_until(lambda: "ShdPnd:\t0000000000000000" in (process / "status").read_text())
            lock.execute("ROLLBACK")
            lock.close()
            client.conclude(130)
        assert not os.path.ismount(point)
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False, capture_output=True)


def test_in_the_background(put: Put, start: Start, tmp_path: Path, point: Path) -> None:
    refused = put("a.bam", DATA)
    try:
        with start("mount", "--mount-point", point, "--daemonize") as parent:
            result = parent.conclude()
        assert os.path.ismount(point)
        (log,) = (tmp_path / "home" / ".local" / "state" / "score" / "log").iterdir()
        assert str(log) in result.stderr
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA
        assert refused not in log.read_text()
    finally:
        subprocess.run(["fusermount3", "-u", str(point)], check=True)
    assert not os.path.ismount(point)


def test_what_fails_in_the_background_is_told_in_front(start: Start, point: Path) -> None:
    with start("mount", "--mount-point", point, "--daemonize", "--manifest", point / "nothing") as client:
        assert "nothing" in client.conclude(4).stderr


def test_unmounted_from_outside_with_figures(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    with mount() as client:
        (point / ANALYSIS / "a.bam").read_bytes()
        subprocess.run(["fusermount3", "-u", str(point)], check=True)
        assert client.wait() == 0
        assert "1 files opened, 2.9 MiB read" in client.stderr
        assert "0 errors" in client.stderr


def test_a_signal_unmounts_though_files_are_open(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    with mount() as client:
        descriptor = os.open(point / ANALYSIS / "a.bam", os.O_RDONLY)
        client.interrupt()
        assert client.wait() == 0
        assert "Unmounted" in client.stderr
        with pytest.raises(OSError, match="not connected"):
            os.read(descriptor, 10)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_a_signal_ends_reads_that_wait(put: Put, site: FaultyScore, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    with ThreadPoolExecutor(1) as pool, mount(storage_retryNumber="1000") as client:
        site.traffic.inject(Answer.unavailable(), path="/store/", times=None)
        read = pool.submit(failure, point / ANALYSIS / "a.bam")
        client.wait_until(lambda: "retry 1/" in client.stderr)
        assert client.terminate() == 0
        assert read.result() in (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED)


def test_a_killed_mount_is_cleared_away_by_the_next_one(put: Put, point: Path, start: Start, mount: MountIt) -> None:
    put("a.bam", DATA)
    with start("mount", "--mount-point", point) as client:
        client.wait_until(lambda: "Mounted on" in client.stderr)
        client.kill()
    with pytest.raises(OSError):
        os.listdir(point)
    with mount() as client:
        assert "a mount that was killed is cleared away" in client.stderr
        assert (point / ANALYSIS / "a.bam").read_bytes() == DATA


def test_mounted_already(point: Path, start: Start, mount: MountIt) -> None:
    with mount(), start("mount", "--mount-point", point) as client:
        assert f"fusermount3 -u {point}" in client.conclude(3).stderr


def test_folders_that_cannot_be_mounted_on(start: Start, point: Path) -> None:
    (point / "file").write_text("x")
    with start("mount", "--mount-point", point) as client:
        assert "is not empty" in client.conclude(2).stderr
    with start("mount", "--mount-point", point / "file") as client:
        assert "Not a directory" in client.conclude(2).stderr
    with start("mount", "--mount-point", point / "none") as client:
        assert "mkdir -p" in client.conclude(4).stderr
    (point / "file").unlink()
    with start("mount", "--mount-point", point, "--options", "no_such_option=1") as client:
        result = client.conclude(3)
    assert "unknown option" in result.stderr
    assert "Unmounted" not in result.stderr


@pytest.mark.parametrize(
    ("option", "folder", "variable"),
    [("--daemonize", ".local", "XDG_STATE_HOME"), ("--cache-metadata", ".cache", "XDG_CACHE_HOME")],
)
def test_a_home_that_takes_no_files_is_told_with_what_to_do(
    start: Start, point: Path, tmp_path: Path, option: str, folder: str, variable: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / folder).touch()
    with start("mount", "--mount-point", point, option) as client:
        said = client.conclude(4).stderr
    assert f"in {variable}, or leave out {option}." in said


def test_a_cache_that_has_no_place_is_told_before_there_is_a_mount(start: Start, point: Path, tmp_path: Path) -> None:
    """Every file would seem not to be there."""
    none = tmp_path / "none"
    options = ("--reading.cache.disk=1", f"--reading.cache.folder={none}")
    with start("mount", "--mount-point", point, *options) as client:
        said = client.conclude(4).stderr
    assert f"reading.cache.folder: {none}: No such file or directory." in said
    assert "Mounted" not in said


def test_options_that_are_in_force_anyhow_or_cannot_be(put: Put, point: Path, start: Start, mount: MountIt) -> None:
    put("a.bam", DATA)
    with mount("--options", "ro,kernel_cache", "--options", "fsname=ours", "--verify-connection", "false"):
        assert os.listdir(point) == [ANALYSIS]
        assert f"ours {point} fuse.score ro," in Path("/proc/mounts").read_text()
    for name in ("rw", "foreground", "raw_fi=1", "mountpoint=/tmp", "operations", "encoding=x", "self"):
        with start("mount", "--mount-point", point, "--options", name) as client:
            assert f"--options: {name.partition('=')[0]} cannot be chosen" in client.conclude(2).stderr


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_store_is_tried_out_unless_that_is_not_wanted(
    put: Put, site: FaultyScore, mount: MountIt, value: str
) -> None:
    put("a.bam", DATA)
    with mount("--verify-connection", value):
        assert bool(site.traffic.seen(path="/download/ping")) is (value == "true")


def test_over_files_where_that_is_wanted(put: Put, point: Path, mount: MountIt) -> None:
    put("a.bam", DATA)
    (point / "file").write_text("x")
    with mount("--options", "nonempty,allow_other"):
        assert os.listdir(point) == [ANALYSIS]
        assert point.stat().st_mode & 0o777 == 0o555
    assert os.listdir(point) == ["file"]

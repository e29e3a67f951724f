"""One transfer of an object in a folder at a time; the holder is named, and nobody who is gone is one."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from score.errors import Conflict, Refused
from score.testing.privileges import unprivileged
from score.transfer.lock import ABANDONED, SystemLock, held, system_lock

OBJECT = "5c0eca11-0000-4000-8000-000000000024"
HOLD = """
import errno, os, sys
from pathlib import Path
from score.transfer.lock import held, system_lock
def none(descriptor):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
with held([Path(sys.argv[1])], sys.argv[2], "reads.bam", lock=none if sys.argv[3] == "none" else system_lock):
    print("held", flush=True)
    sys.stdin.read()
"""


def no_locks(descriptor: int) -> bool:
    """A file system without locks, such as Lustre without ``flock``."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


LOCKS = pytest.mark.parametrize("lock", [system_lock, no_locks], ids=["system", "none"])


@contextmanager
def another_process(folder: Path, lock: SystemLock) -> Iterator[subprocess.Popen[str]]:
    """One that holds the lock until its input ends, or it is killed."""
    arguments = [str(folder), OBJECT, "none" if lock is no_locks else "system"]
    command = [sys.executable, "-c", HOLD, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def failing_close(descriptor: int, close: Callable[[int], None] = os.close) -> None:
    """As NFS tells of a quota that was exceeded: when a file is closed."""
    close(descriptor)
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@LOCKS
class TestTwoAtOnce:
    def test_the_second_is_told_who_holds_it_and_what_to_do(self, tmp_path: Path, lock: SystemLock) -> None:
        with another_process(tmp_path, lock) as first:
            who = rf"^reads\.bam: .* process {first.pid} on {socket.gethostname()}, since \d{{4}}-.* UTC"
            with pytest.raises(Conflict, match=who) as caught, held([tmp_path], OBJECT, "reads.bam", lock=lock):
                pytest.fail("both have it")
        assert "run the same command again" in caught.value.hint

    def test_one_that_was_killed_is_no_obstacle(self, tmp_path: Path, lock: SystemLock) -> None:
        with another_process(tmp_path, lock) as first:
            first.kill()
            first.wait()
            assert os.listdir(tmp_path) != []
            with held([tmp_path], OBJECT, "reads.bam", lock=lock):
                pass
        assert os.listdir(tmp_path) == []

    def test_threads_of_one_program_are_two(self, tmp_path: Path, lock: SystemLock) -> None:
        with (
            held([tmp_path], OBJECT, "first", lock=lock),
            pytest.raises(Conflict),
            held([tmp_path], OBJECT, "second", lock=lock),
        ):
            pytest.fail("both have it")

    def test_another_object_or_folder_is_another_matter(self, tmp_path: Path, lock: SystemLock) -> None:
        (tmp_path / "b").mkdir()
        with (
            held([tmp_path], OBJECT, "first", lock=lock),
            held([tmp_path / "b"], OBJECT, "second", lock=lock),
            held([tmp_path], OBJECT.replace("5", "6"), "third", lock=lock),
        ):
            pass

    def test_one_after_the_other(self, tmp_path: Path, lock: SystemLock) -> None:
        for _ in range(3):
            with held([tmp_path], OBJECT, "again", lock=lock):
                assert len(os.listdir(tmp_path)) == 1
        assert os.listdir(tmp_path) == []

    def test_it_ends_with_an_error_too(self, tmp_path: Path, lock: SystemLock) -> None:
        with pytest.raises(ZeroDivisionError), held([tmp_path], OBJECT, "first", lock=lock):
            raise ZeroDivisionError
        assert os.listdir(tmp_path) == []

    def test_it_is_its_owners_alone(self, tmp_path: Path, lock: SystemLock) -> None:
        before = os.umask(0)
        try:
            with held([tmp_path], OBJECT, "first", lock=lock):
                (path,) = tmp_path.iterdir()
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
        finally:
            os.umask(before)

    def test_a_folder_that_cannot_be_written_to_is_passed_over(self, tmp_path: Path, lock: SystemLock) -> None:
        folder = tmp_path / "inbox"
        folder.mkdir(mode=0o555)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o777)
        elsewhere.chmod(0o777)

        def run() -> None:
            with held([folder, elsewhere], OBJECT, "first", lock=lock):
                assert len(os.listdir(elsewhere)) == 1
                with pytest.raises(Conflict), held([folder, elsewhere], OBJECT, "second", lock=lock):
                    pytest.fail("both have it")

        unprivileged(run)
        assert os.listdir(folder) == os.listdir(elsewhere) == []

    def test_a_disk_that_has_no_room_for_the_holders_name_stops_nobody(
        self, tmp_path: Path, lock: SystemLock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "close", failing_close)
        with (
            held([tmp_path], OBJECT, "first", lock=lock),
            pytest.raises(Conflict, match="second"),
            held([tmp_path], OBJECT, "second", lock=lock),
        ):
            pytest.fail("both have it")
        assert os.listdir(tmp_path) == []

    def test_no_place_at_all_stops_nobody(self, tmp_path: Path, lock: SystemLock) -> None:
        with held([tmp_path / "absent"], OBJECT, "first", lock=lock):
            pass
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("suffix", ["lock", "owner"])
    def test_a_link_in_its_place_leads_nowhere(self, tmp_path: Path, lock: SystemLock, suffix: str) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        (tmp_path / f".{OBJECT}.{suffix}").symlink_to(victim)
        if suffix == "owner" and lock is system_lock:
            with held([tmp_path], OBJECT, "first", lock=lock):
                pass
        else:
            with pytest.raises((Refused, Conflict)), held([tmp_path], OBJECT, "first", lock=lock):
                pytest.fail("it is held by way of a link")
        assert victim.read_text() == "precious"


def test_a_lock_of_another_user_is_told_as_such(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / f".{OBJECT}.lock").touch(mode=0)

    def run() -> None:
        with pytest.raises(Conflict, match=r"\.lock is of user .*another user"), held([tmp_path], OBJECT, "first"):
            pytest.fail("it is another's")

    unprivileged(run)


class TestWithoutLocksOfTheSystem:
    """The file is the lock by being there: what is known of other machines is the file's last sign of life."""

    def leave(self, folder: Path, age: float, **changes: object) -> Path:
        path = folder / f".{OBJECT}.owner"
        record = {"host": "node17", "pid": 4242, "since": "2026-11-25 02:00 UTC", "token": "a"}
        path.write_text(json.dumps(record | changes))
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))
        return path

    def test_another_machine_that_gives_signs_of_life_holds_it(self, tmp_path: Path) -> None:
        path = self.leave(tmp_path, ABANDONED / 2)
        with (
            pytest.raises(Conflict, match="process 4242 on node17") as caught,
            held([tmp_path], OBJECT, "a", lock=no_locks),
        ):
            pytest.fail("both have it")
        assert str(path) in caught.value.hint
        assert os.listdir(tmp_path) == [path.name]

    @pytest.mark.parametrize(
        "text",
        [
            *(None, "", "{", "[]", '{"pid": 1e999}'),
            json.dumps({"host": socket.gethostname(), "pid": 10**30}),
        ],
    )
    def test_one_that_gives_none_any_more_does_not(self, tmp_path: Path, text: str | None) -> None:
        path = self.leave(tmp_path, 2 * ABANDONED)
        if text is not None:
            path.write_text(text)
            os.utime(path, (0, 0))
        with held([tmp_path], OBJECT, "a", lock=no_locks):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()
        assert os.listdir(tmp_path) == []

    def test_one_that_was_just_made_is_held_though_it_says_nothing_yet(self, tmp_path: Path) -> None:
        (tmp_path / f".{OBJECT}.owner").touch()
        with pytest.raises(Conflict), held([tmp_path], OBJECT, "a", lock=no_locks):
            pytest.fail("both have it")

    def test_what_a_program_of_this_machine_left_is_nobodys_at_once(self, tmp_path: Path) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
        )
        self.leave(tmp_path, 0, host=socket.gethostname(), pid=int(ended.stdout))
        with held([tmp_path], OBJECT, "a", lock=no_locks):
            pass

    def test_who_lost_it_leaves_it_to_the_one_who_has_it_now(self, tmp_path: Path) -> None:
        """A machine that slept, and gave no sign of life meanwhile."""
        with held([tmp_path], OBJECT, "first", lock=no_locks):
            path = self.leave(tmp_path, 2 * ABANDONED)
            second = held([tmp_path], OBJECT, "second", lock=no_locks)
            second.__enter__()
        assert path.exists(), "the first one took the second one's lock away"
        second.__exit__(None, None, None)
        assert os.listdir(tmp_path) == []


class TestTheFileOfALock:
    """What is gathered in it is moved to its place while it is held."""

    def test_is_moved_and_the_next_lock_is_another_file(self, tmp_path: Path) -> None:
        place = tmp_path / "reads.bam"
        with held([tmp_path], OBJECT, "first") as file:
            assert file == tmp_path / f".{OBJECT}.lock"
            file.write_bytes(b"reads")
            file.rename(place)
            second = held([tmp_path], OBJECT, "second")
            assert second.__enter__() == file
        assert file.exists(), "the first one took the second one's lock away"
        second.__exit__(None, None, None)
        assert place.read_bytes() == b"reads"
        assert os.listdir(tmp_path) == [place.name]

    def test_is_left_alone_by_one_who_opened_it_before_it_was_moved(self, tmp_path: Path) -> None:
        path, place = tmp_path / f".{OBJECT}.lock", tmp_path / "reads.bam"
        path.write_bytes(b"reads")

        def late(descriptor: int) -> bool:
            if not place.exists():
                path.rename(place)
            return system_lock(descriptor)

        with held([tmp_path], OBJECT, "second", lock=late) as file:
            assert file == path
            assert place.read_bytes() == b"reads"
        assert place.read_bytes() == b"reads"

    def test_is_removed_with_what_is_in_it_when_it_was_not_moved(self, tmp_path: Path) -> None:
        with held([tmp_path], OBJECT, "first") as file:
            assert file is not None
            file.write_bytes(b"rea")
        assert os.listdir(tmp_path) == []

    def test_names_nobody_once_bytes_are_in_it(self, tmp_path: Path) -> None:
        with held([tmp_path], OBJECT, "first") as file:
            assert file is not None
            file.write_bytes(b"[" * 100_000)
            with pytest.raises(Conflict, match="by another process"), held([tmp_path], OBJECT, "second"):
                pytest.fail("both have it")

    def test_is_not_for_data_where_another_user_made_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        with held([tmp_path], OBJECT, "first") as file:
            assert file is None

    @LOCKS
    def test_is_none_in_a_folder_that_may_not_be_searched(self, tmp_path: Path, lock: SystemLock) -> None:
        (tmp_path / "shut").mkdir(mode=0o600)

        def file() -> Path | None:
            with held([tmp_path / "shut"], OBJECT, "first", lock=lock) as file:
                return file

        assert unprivileged(file) is None

    def test_is_none_where_it_went_stale_at_once(self, tmp_path: Path) -> None:
        def stale(descriptor: int) -> bool:
            os.close(descriptor)
            return True

        with held([tmp_path], OBJECT, "first", lock=stale) as file:
            assert file is None
            assert os.listdir(tmp_path) == [f".{OBJECT}.owner"]
        assert os.listdir(tmp_path) == []

    def test_is_none_where_the_system_keeps_no_locks(self, tmp_path: Path) -> None:
        with held([tmp_path], OBJECT, "first", lock=no_locks) as file:
            assert file is None

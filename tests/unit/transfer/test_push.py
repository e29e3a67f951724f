"""Sending parts to a store that behaves, and to one that does not."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from score.errors import Cancelled, Conflict, Integrity, NotFound, Refused, ScoreError, Unauthenticated, Unavailable
from score.protocol.wire import Part
from score.testing.faults import Answer, CutRequest, LoseResponse, Reset
from score.testing.score import FaultyScore
from score.transfer.bandwidth import Throttle
from score.transfer.engine import Engine, Urls
from score.transfer.events import Moved, PartDone, Waiting
from score.transfer.files import Source
from score.transfer.push import Push
from score.transfer.retry import Stop

OBJECT = "5c0eca11-0000-4000-8000-000000000001"
PART = 64 * 1024
DATA = random.Random(2).randbytes(5 * PART + 1000)
WHOLE = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bam"
    path.write_bytes(DATA)
    return path


class CountingSource(Source):
    """Counts the bytes that are read of it."""

    read = 0

    def open(self) -> FileIO:
        super().open().close()
        counter = self

        class Counting(FileIO):
            def readinto(self, buffer: Any) -> int:
                count = super().readinto(buffer)
                counter.read += count
                return count

        return Counting(self.path)


class Sending:
    """An upload of one file: parts, renewals and reports are counted."""

    def __init__(self, store: FaultyScore, engine: Engine, path: Path) -> None:
        self.store = store
        self.source = Source(path)
        self.parts = store.fake.begin(OBJECT, self.source.size)
        self.renewals = 0
        self.reported: list[int] = []
        self.engine = engine
        self.report: Callable[[Part, str, str], object] = self.take_note
        self._lock = threading.Lock()

    def take_note(self, part: Part, md5: str, etag: str) -> int:
        """Report to the server; how many reports that makes."""
        upload = self.store.fake.uploads[OBJECT]
        self.store.fake.finish(OBJECT, upload.id, part.part_number, md5, etag)
        with self._lock:
            self.reported.append(part.part_number)
            return len(self.reported)

    def _call(self, part: Part, md5: str, etag: str) -> None:
        self.report(part, md5, etag)

    def _renew(self) -> list[Part]:
        self.renewals += 1
        return self.store.fake.upload_parts(OBJECT)

    def send(self) -> str:
        parts = self.store.fake.upload_parts(OBJECT)
        push = Push(
            self.engine, "a.bam", self.source, Urls(self.parts, self._renew), lambda *said: self.report(*said)
        )
        return push.send(parts, [part for part in parts if not part.source_md5])

    @property
    def stored(self) -> bytes:
        """What the store holds of finished parts."""
        upload = self.store.fake.uploads[OBJECT]
        assert sorted(upload.finished) == list(range(1, len(upload.parts) + 1))
        for number, md5 in upload.finished.items():
            assert md5 == hashlib.md5(upload.stored[number]).hexdigest()
        return b"".join(upload.stored[number] for number in sorted(upload.stored))


@pytest.fixture
def sending(store: FaultyScore, engine: Engine, path: Path) -> Sending:
    return Sending(store, engine, path)


class Easing(Throttle):
    """Counts how often fewer parts are to be sent at a time."""

    eased = 0

    def ease(self) -> None:
        self.eased += 1
        super().ease()


@pytest.mark.parametrize(("cuts", "eased"), [(1, 0), (3, 2)])
def test_only_parts_that_are_cut_again_make_fewer_at_a_time(
    store: FaultyScore, engine: Engine, path: Path, cuts: int, eased: int
) -> None:
    store.traffic.inject(CutRequest(after=1000), method="PUT", part=2, times=cuts)
    throttle = Easing(engine.stop)
    sending = Sending(store, replace(engine, throttle=throttle), path)
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert throttle.eased == eased


def test_a_file_arrives(sending: Sending, store: FaultyScore) -> None:
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert store.puts == [1, 2, 3, 4, 5, 6]
    assert sending.renewals == 0
    assert sum(event.count for event in store.heard.of(Moved)) == len(DATA)
    assert sorted(event.number for event in store.heard.of(PartDone)) == [1, 2, 3, 4, 5, 6]


def test_a_put_carries_its_length_and_nothing_secret(sending: Sending, store: FaultyScore) -> None:
    sending.send()
    for exchange in store.traffic.seen(method="PUT"):
        assert exchange.headers["content-length"] == str(exchange.sent)
        assert set(exchange.headers) <= {"host", "user-agent", "accept-encoding", "content-length"}


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1])
def test_files_of_every_kind_of_size(size: int, store: FaultyScore, engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(DATA[:size])
    sending = Sending(store, engine, path)
    assert sending.send() == hashlib.md5(DATA[:size]).hexdigest()
    assert sending.stored == DATA[:size]
    assert [exchange.sent for exchange in store.traffic.seen(method="PUT", part=1)] == [min(size, PART)]


@pytest.mark.parametrize("size", [PART - 1, 0])
def test_a_file_of_one_part_is_read_once(size: int, store: FaultyScore, engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(DATA[:size])
    sending = Sending(store, engine, path)
    sending.source = source = CountingSource(path)
    assert sending.send() == hashlib.md5(DATA[:size]).hexdigest()
    assert source.read == size


def test_a_wrong_etag_makes_the_part_go_again(sending: Sending, store: FaultyScore) -> None:
    store.traffic.inject(Answer(200, b"", {"ETag": '"00000000000000000000000000000000"'}), method="PUT", part=3)
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert store.puts == [1, 2, 3, 3, 4, 5, 6]
    assert sorted(sending.reported) == [1, 2, 3, 4, 5, 6]
    assert sum(event.count for event in store.heard.of(Moved)) == len(DATA)


def test_a_wrong_etag_for_ever_is_told_as_damage(sending: Sending, store: FaultyScore) -> None:
    store.traffic.inject(
        Answer(200, b"", {"ETag": '"00000000000000000000000000000000"'}), method="PUT", part=3, times=None
    )
    with pytest.raises(
        Integrity, match=r"part 3 arrived with MD5 0{32}, but was sent with [0-9a-f]{32} \(gave up"
    ) as caught:
        sending.send()
    assert "try another network or proxy" in caught.value.hint
    assert 3 not in sending.reported


def test_an_answer_without_an_etag_proves_nothing(sending: Sending, store: FaultyScore) -> None:
    store.traffic.inject(Answer(200), method="PUT", part=3, times=None)
    with pytest.raises(Integrity, match="no ETag, so part 3 is unproven"):
        sending.send()
    assert 3 not in sending.reported


def test_etags_of_an_encrypting_store_are_not_compared(sending: Sending, store: FaultyScore) -> None:
    store.fake.kms = True
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert store.puts == [1, 2, 3, 4, 5, 6]


def test_an_etag_that_is_no_md5_is_passed_on(sending: Sending, store: FaultyScore) -> None:
    etags: list[str] = []

    def report(part: Part, md5: str, etag: str) -> None:
        etags.append(etag)

    sending.report = report
    store.traffic.inject(Answer(200, b"", {"ETag": '"0x8D9-azure"'}), method="PUT", times=None)
    assert sending.send() == WHOLE
    assert etags == ["0x8D9-azure"] * 6


@pytest.mark.parametrize(
    "fault",
    [
        Reset(),
        CutRequest(1000),
        LoseResponse(),
        Answer.failure(),
        Answer.unavailable(),
        Answer.unavailable(retry_after=0),
        Answer.request_timeout(),
        Answer(502, b"<html>Bad Gateway</html>"),
        Answer(429),
    ],
    ids=lambda fault: type(fault).__name__ + str(getattr(fault, "status", "")),
)
def test_what_passes_is_waited_for(sending: Sending, store: FaultyScore, fault: Reset | Answer) -> None:
    store.traffic.inject(fault, method="PUT", part=2, times=3)
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert store.puts == [1, 2, 2, 2, 2, 3, 4, 5, 6]
    assert [event.what for event in store.heard.of(Waiting)] == ["a.bam: part 2"] * 3
    assert sum(event.count for event in store.heard.of(Moved)) == len(DATA)


@pytest.mark.parametrize("fault", [Answer.unavailable(), Answer.failure(), Reset()])
def test_a_store_that_is_away_for_ever_ends_patience(
    sending: Sending, store: FaultyScore, fault: Reset | Answer
) -> None:
    store.traffic.inject(fault, method="PUT", part=2, times=None)
    with pytest.raises(Unavailable, match=r"PUT http://.*gave up after 4 tries"):
        sending.send()
    assert len(store.traffic.seen(method="PUT", part=2)) == 4


def test_a_store_that_refuses_for_ever_is_never_success(sending: Sending, store: FaultyScore) -> None:
    store.traffic.inject(Answer.denied(), method="PUT", part=2, times=None)
    with pytest.raises(Refused, match=r"403 AccessDenied.*new URLs did not help") as caught:
        sending.send()
    assert "Signature" not in str(caught.value)
    assert 2 not in sending.reported
    assert 1 <= sending.renewals <= 3


def test_expired_urls_are_renewed_once_for_all_parts(sending: Sending, store: FaultyScore) -> None:
    store.fake.expire()
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert sending.renewals == 1
    assert len(store.traffic.seen(method="PUT", status=200)) == 6


def test_urls_that_expire_in_mid_run_throw_no_finished_part_away(sending: Sending, store: FaultyScore) -> None:
    def report(part: Part, md5: str, etag: str) -> None:
        if sending.take_note(part, md5, etag) == 3:
            store.fake.expire()

    sending.report = report
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert sending.renewals == 1
    assert sorted(sending.reported) == [1, 2, 3, 4, 5, 6]


def test_an_upload_that_is_gone_is_not_found(sending: Sending, store: FaultyScore) -> None:
    parts = store.fake.upload_parts(OBJECT)
    del store.fake.uploads[OBJECT]
    push = Push(sending.engine, "a.bam", sending.source, Urls(parts, list), sending.report)
    with pytest.raises(NotFound, match="404 NoSuchUpload"):
        push.send(parts, parts)


@pytest.mark.parametrize("error", [Unauthenticated("401"), Refused("500"), NotFound("404")])
def test_a_report_that_is_refused_ends_it(sending: Sending, store: FaultyScore, error: ScoreError) -> None:
    def report(part: Part, md5: str, etag: str) -> None:
        raise error

    sending.report = report
    with pytest.raises(type(error)):
        sending.send()
    assert len(store.puts) <= 3


def test_a_report_that_comes_too_early_makes_the_part_go_again(sending: Sending, store: FaultyScore) -> None:
    """The reference on MinIO refuses a part while an earlier one is missing."""
    refused = threading.Event()

    def report(part: Part, md5: str, etag: str) -> None:
        if part.part_number == 3 and not refused.is_set():
            refused.set()
            raise Conflict("400")
        sending.take_note(part, md5, etag)

    sending.report = report
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert store.puts == [1, 2, 3, 3, 4, 5, 6]


def test_a_report_that_failed_after_all_patience_sends_nothing_again(sending: Sending, store: FaultyScore) -> None:
    calls = 0

    def away() -> None:
        nonlocal calls
        calls += 1
        raise Unavailable("POST http://score/upload/x/parts: no connection")

    def report(part: Part, md5: str, etag: str) -> None:
        if part.part_number == 6:
            sending.engine.persist(away, "reporting")
        sending.take_note(part, md5, etag)

    sending.report = report
    with pytest.raises(Unavailable, match=r"no connection \(gave up after 4 tries\)"):
        sending.send()
    assert calls == 4
    assert len(store.traffic.seen(method="PUT", part=6)) == 1


def test_finished_parts_are_not_sent_again(sending: Sending, store: FaultyScore) -> None:
    store.traffic.inject(Answer(400), method="PUT", part=5, times=None)
    with pytest.raises(Refused):
        sending.send()
    first = sorted(sending.reported)
    store.traffic.heal()
    store.traffic.forget()
    sending.reported.clear()
    assert sending.send() == WHOLE
    assert sending.stored == DATA
    assert sorted([*first, *sending.reported]) == [1, 2, 3, 4, 5, 6]
    assert [number for number in store.puts if number in first] == []


def test_with_nothing_left_to_send_the_whole_is_still_proven(sending: Sending, store: FaultyScore) -> None:
    sending.send()
    store.traffic.forget()
    assert sending.send() == WHOLE
    assert store.puts == []


Change = Callable[[Path], object]


def _write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, ns=(0, 0))


def _replace(path: Path) -> None:
    path.with_name("new").write_bytes(DATA)
    path.with_name("new").replace(path)


@pytest.mark.parametrize(
    "change",
    [_write, _replace, Path.unlink, lambda path: os.truncate(path, 10), lambda path: os.truncate(path, 10**6)],
    ids=["written to", "replaced", "removed", "shrunk", "grown"],
)
@pytest.mark.parametrize("when", ["between parts", "in the end", "within the only part"])
def test_a_file_that_changes_while_it_is_sent_is_found(
    store: FaultyScore, engine: Engine, tmp_path: Path, change: Change, when: str
) -> None:
    path = tmp_path / "a.bam"
    path.write_bytes(DATA[: 1000 if when == "within the only part" else None])
    sending = Sending(store, engine, path)

    def report(part: Part, md5: str, etag: str) -> None:
        if sending.take_note(part, md5, etag) == (6 if when == "in the end" else 1):
            change(path)

    sending.report = report
    with pytest.raises(Integrity, match=r"a\.bam"):
        sending.send()


def test_a_file_that_shrinks_below_a_part_is_told_as_such_not_as_a_fault_of_the_network(
    sending: Sending, store: FaultyScore, path: Path
) -> None:
    gate = store.traffic.hold(method="PUT", part=1)
    ends: list[BaseException] = []

    def run() -> None:
        try:
            sending.send()
        except ScoreError as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    gate.wait_for_arrival()
    os.truncate(path, 10)
    store.traffic.heal()
    thread.join()
    assert [type(error) for error in ends] == [Integrity]


@pytest.fixture
def stopped(sending: Sending, store: FaultyScore, stop: Stop) -> list[BaseException]:
    """A transfer that the user stopped while a part was held in the network for ever; how it ended."""
    gate = store.traffic.hold(method="PUT", after=1000, skip=2)
    ends: list[BaseException] = []

    def run() -> None:
        try:
            sending.send()
        except ScoreError as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    gate.wait_for_arrival()
    stop.set()
    store.traffic.heal()
    thread.join()
    return ends


def test_a_wish_to_stop_ends_it_and_keeps_what_is_finished(
    stopped: list[BaseException], sending: Sending, store: FaultyScore
) -> None:
    assert [type(error) for error in stopped] == [Cancelled]
    assert len(store.fake.uploads[OBJECT].finished) == len(sending.reported) < 6

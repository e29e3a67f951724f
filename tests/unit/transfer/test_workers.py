"""Threads for parts: a bounded window, results as they come, the first error ends the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from score.errors import Cancelled, Refused
from score.transfer.retry import Stop
from score.transfer.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(3)
    yield workers
    workers.close()


def test_every_item_is_worked_on_once(workers: Workers) -> None:
    assert sorted(workers.each(range(100), lambda n: n * n)) == [n * n for n in range(100)]
    assert list(workers.each([], str)) == []


def test_results_come_as_they_are_ready(workers: Workers) -> None:
    last = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            assert last.wait(30)
        return number

    results = workers.each([1, 2, 3, 4, 5], work)
    first = [next(results) for _ in range(4)]
    last.set()
    assert sorted(first) == [2, 3, 4, 5]
    assert list(results) == [1]


def test_no_more_than_the_window_are_under_way_and_items_are_taken_one_by_one(workers: Workers) -> None:
    taken: list[int] = []
    lock = threading.Lock()
    now = most = 0
    full = threading.Barrier(3)

    def items() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        full.wait(30)  # three are under way; none ends before
        with lock:
            assert len(taken) <= number + 6
            now -= 1
        return number

    assert len(list(workers.each(items(), work))) == 30
    assert most == 3


def test_the_first_error_ends_the_rest(workers: Workers) -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number >= 5:
            raise Refused(f"part {number}")
        return number

    got: list[int] = []
    results = workers.each(range(1000), work)
    with pytest.raises(Refused, match=r"part \d"):
        got.extend(results)
    assert len(begun) < 20


def test_what_was_under_way_is_still_reported_before_the_error(workers: Workers) -> None:
    failed = threading.Event()
    begun = threading.Barrier(3)

    def work(number: int) -> int:
        begun.wait(30)
        if number == 0:
            failed.set()
            raise Refused("no")
        assert failed.wait(30)
        return number

    results = workers.each([0, 1, 2], work)
    assert sorted([next(results), next(results)]) == [1, 2]
    with pytest.raises(Refused):
        next(results)


def test_two_files_share_the_threads(workers: Workers) -> None:
    """A file whose parts hang does not keep another from moving on."""
    release = threading.Event()
    blocked = threading.Semaphore(0)

    def hang(number: int) -> int:
        blocked.release()
        assert release.wait(30)
        return number

    slow: list[int] = []
    thread = threading.Thread(target=lambda: slow.extend(workers.each(range(2), hang)))
    thread.start()
    blocked.acquire()
    blocked.acquire()
    try:
        assert sorted(workers.each(range(5), str)) == ["0", "1", "2", "3", "4"]
    finally:
        release.set()
        thread.join()
    assert sorted(slow) == [0, 1]


class Steps:
    """Parts that end one by one, as the test lets them; it knows which one each thread took."""

    def __init__(self) -> None:
        self.taken: SimpleQueue[str] = SimpleQueue()
        self.ends: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def file(self, workers: Workers, name: str, parts: int) -> None:
        """Begin to move a file in a thread of its own."""
        names = [f"{name}{number}" for number in range(parts)]
        self.ends |= {one: threading.Event() for one in names}

        def work(part: str) -> str:
            self.taken.put(part)
            assert self.ends[part].wait(30)
            return part

        self.threads.append(threading.Thread(target=lambda: list(workers.each(names, work))))
        self.threads[-1].start()

    def joined(self, workers: Workers, files: int) -> None:
        """Wait until so many files take part."""
        while len(workers._lines) < files:
            threading.Event().wait(0)

    def next(self) -> str:
        return self.taken.get(timeout=30)

    def end(self, part: str) -> str:
        """Let a part end; gives the one that its thread takes then."""
        self.ends[part].set()
        return self.next()

    def end_all(self) -> None:
        for end in self.ends.values():
            end.set()
        for thread in self.threads:
            thread.join()


def test_a_small_file_does_not_queue_behind_the_parts_of_large_ones(workers: Workers) -> None:
    steps = Steps()
    steps.file(workers, "a", 100)
    first = [steps.next() for _ in range(3)]
    steps.file(workers, "b", 100)
    steps.file(workers, "c", 100)
    steps.joined(workers, 3)
    assert steps.end(first[0])[0] in "bc"
    assert steps.end(first[1])[0] in "bc"
    steps.file(workers, "small", 1)
    steps.joined(workers, 4)
    assert steps.end(first[2]) == "a3", "it has waited longest of those with nothing under way"
    assert steps.end("a3") == "small0", "now this one has"
    steps.end_all()


def test_a_large_file_is_not_starved_by_small_ones(workers: Workers) -> None:
    steps = Steps()
    for name in "abc":
        steps.file(workers, name, 1)
    ended = [steps.next() for _ in range(3)]
    steps.file(workers, "large", 5)
    steps.joined(workers, 4)
    for name in "def":
        steps.file(workers, name, 1)
    steps.joined(workers, 7)
    assert steps.end(ended[0]) == "large0"
    steps.end_all()


def test_a_wish_to_stop_ends_all(workers: Workers) -> None:
    stop = Stop()

    def work(number: int) -> int:
        stop.check()
        if number == 4:
            stop.set()
        return number

    with pytest.raises(Cancelled):
        list(workers.each(range(1000), work))


def test_there_is_at_least_one_thread() -> None:
    workers = Workers(0)
    assert list(workers.each([1], str)) == ["1"]
    workers.close()


def test_a_file_that_is_done_waits_for_no_part_of_another() -> None:
    """Else what has arrived would be lost where the other one hangs until the user gives up."""
    workers = Workers(1)
    steps = Steps()
    steps.file(workers, "done", 1)
    part = steps.next()
    steps.file(workers, "hanging", 1)
    steps.joined(workers, 2)
    assert steps.end(part) == "hanging0"
    steps.threads[0].join(30)
    assert not steps.threads[0].is_alive()
    assert list(workers.each([], str)) == []
    steps.end_all()
    workers.close()


def test_closing_lets_no_file_end_as_if_it_were_done() -> None:
    """Neither the one under way nor those whose turn never came; none of them waits for ever either."""
    workers = Workers(1)
    begun, release = threading.Event(), threading.Event()
    ends: SimpleQueue[object] = SimpleQueue()

    def work(name: str) -> str:
        begun.set()
        assert release.wait(30)
        return name

    def move(name: str) -> None:
        try:
            ends.put(list(workers.each([name], work)))
        except Cancelled as error:
            ends.put(error)

    threads = [threading.Thread(target=move, args=(name,), daemon=True) for name in ("busy", "a", "b", "c")]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(workers._lines) < 4:
        threading.Event().wait(0)
    workers.close()
    assert [type(ends.get(timeout=30)) for _ in range(3)] == [Cancelled] * 3
    release.set()
    assert isinstance(ends.get(timeout=30), Cancelled)


def test_nothing_is_begun_after_closing() -> None:
    workers = Workers(1)
    workers.close()
    with pytest.raises(Cancelled):
        list(workers.each([1], str))


@pytest.fixture
def no_more_threads() -> Iterator[Callable[[], None]]:
    """Call it, and the system refuses every further thread, as at its limit of processes."""

    def refuse() -> None:
        threading.stack_size(1 << 48)

    yield refuse
    threading.stack_size(0)


def test_with_fewer_threads_than_wanted_all_is_done(workers: Workers, no_more_threads: Callable[[], None]) -> None:
    def items() -> Iterator[int]:
        yield 0
        no_more_threads()
        yield from range(1, 5)

    assert sorted(workers.each(items(), str)) == ["0", "1", "2", "3", "4"]


def test_without_any_thread_it_is_said(workers: Workers, no_more_threads: Callable[[], None]) -> None:
    no_more_threads()
    with pytest.raises(Refused, match="no more threads"):
        list(workers.each([1], str))
    assert workers._lines == []

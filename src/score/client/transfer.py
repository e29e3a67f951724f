"""A transfer that runs while its program does something else: its events, its result, its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from score.transfer.events import Event

R = TypeVar("R")


class Transfer(Generic[R]):
    """A call of a client under way in a thread of its own, made by :meth:`score.Client.begin`.

    Iterating gives the client's events, in the order in which they came, until the call has ended. They are kept
    until they are read; a loop that reads none costs about a hundred bytes for each half MiB that moves.
    """

    def __init__(self, call: Callable[[], R], cancel: Callable[[], None]) -> None:
        """``call`` is begun by :meth:`start`; ``cancel`` makes it end early."""
        self._call = call
        self._cancel = cancel
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._result: list[R] = []
        self._error: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, name="transfer", daemon=True)

    def start(self) -> None:
        """Begin the call."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001  it is raised where the result is asked for
            self._error = error
        finally:
            self._over = True
            self._events.put(None)

    def __iter__(self) -> Iterator[Event]:
        """The events; ends when the call has ended. For one loop."""
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)

    def tell(self, event: Event) -> None:
        """Take an event; the client's business, which may go on when the call has ended: nobody reads those."""
        if not self._over:
            self._events.put(event)

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return not self._thread.is_alive()

    def result(self, timeout: float | None = None) -> R:
        """What the call gave, when it has ended; raises what it raised.

        Raises TimeoutError where it has not ended after ``timeout`` seconds; it goes on then.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the transfer has not ended in {timeout} s")
        if self._error is not None:
            raise self._error
        return self._result[0]

    def cancel(self) -> None:
        """End the client's transfers, this one with them, and wait for that. What is finished is kept."""
        self._cancel()
        self._thread.join()

"""Objects that are open, or were a moment ago: all who open one share it, and the server is asked once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from score.errors import Conflict, NotReady
from score.reading import RemoteObject

IDLE = 64
"""Objects that nobody has open and that are kept for the next one to open them."""
IDLE_SECONDS = 60.0
"""How long they are kept: after that the server is asked again whether they may be read."""


class Handle:
    """An object and how many have it open."""

    __slots__ = ("asked", "object_id", "remote", "users")

    def __init__(self, object_id: str, remote: RemoteObject) -> None:
        self.object_id = object_id
        self.remote = remote
        self.users = 0
        self.asked = time.monotonic()


class Handles:
    """Handles by object id. Safe for threads. ``remote`` gives an object by its id and name, not yet opened."""

    def __init__(self, remote: Callable[[str, str], RemoteObject]) -> None:
        self._remote = remote
        self._lock = threading.Lock()
        self._handles: OrderedDict[str, Handle] = OrderedDict()

    def acquire(self, object_id: str, name: str) -> Handle:
        """The object, opened. Errors are those of :class:`score.reading.remote.RemoteObject`; NotReady where the
        server says that now is not the time."""
        with self._lock:
            handle = self._handles.get(object_id)
            if handle is None or time.monotonic() - handle.asked > IDLE_SECONDS:
                if handle is not None:
                    self._drop(handle)
                handle = self._handles[object_id] = Handle(object_id, self._remote(object_id, name))
            self._handles.move_to_end(object_id)
            handle.users += 1
        try:
            handle.remote.open()
        except BaseException as error:
            self.discard(handle)
            self.release(handle)
            if isinstance(error, Conflict):  # nothing was read yet that could have been replaced
                raise NotReady(error.message, hint=error.hint) from error
            raise
        return handle

    def release(self, handle: Handle) -> None:
        """One of those who have it open reads no more."""
        with self._lock:
            handle.users -= 1
            if handle.users == 0 and self._handles.get(handle.object_id) is not handle:
                handle.remote.close()
            idle = [one for one in self._handles.values() if one.users == 0]
            for one in idle[: max(0, len(idle) - IDLE)]:
                self._drop(one)

    def discard(self, handle: Handle) -> None:
        """The next one to open it begins anew: it cannot be opened, or was replaced."""
        with self._lock:
            if self._handles.get(handle.object_id) is handle:
                self._drop(handle)

    def close(self) -> None:
        """End all reading."""
        with self._lock:
            for handle in self._handles.values():
                handle.remote.close()
            self._handles.clear()

    def _drop(self, handle: Handle) -> None:
        """Whoever has it open goes on with it."""
        del self._handles[handle.object_id]
        if handle.users == 0:
            handle.remote.close()

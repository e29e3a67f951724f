"""Inputs of ``view``: objects with the indexes that the registry has for them, and local files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from score.client.client import Client
from score.client.layout import plain
from score.client.many import GRACE
from score.errors import Cancelled
from score.genomics.indexes import Index
from score.slicing import indexes
from score.slicing.sources import LocalBytes, look
from score.slicing.view import Item
from score.transfer.events import Note

T = TypeVar("T")


@contextlib.contextmanager
def remote(client: Client, object_id: str, *, indexed: bool, verify: bool = False) -> Iterator[Item]:
    """An object of a server, with ``indexed`` its index as well; ``verify`` the connection first.

    What can be asked at the same time is: the object's head, its name, and its index behind that.
    """
    with ThreadPoolExecutor(3, thread_name_prefix="view") as pool, client.remote(object_id) as data:
        reached = pool.submit(client.connect) if verify else None
        looked = pool.submit(look, data)
        entity = client.catalog.entity(object_id)
        data.name = plain(entity.file_name or object_id, "File name")

        def find() -> Index | None:
            found = client.catalog.index_of(entity)
            if found is None:
                return None
            with client.remote(found.id, found.file_name) as file:
                return indexes.load(file)

        index = pool.submit(find) if indexed else None
        if reached is not None:
            reached.result()

        def note(text: str) -> None:
            client.engine.listener(Note(data.name, text))

        def wait_for_index() -> Index | None:
            return index.result() if index is not None else find()

        yield Item(data.name, looked.result(), wait_for_index, note, client.stop.check)


@contextlib.contextmanager
def local(path: Path, index: Path | None, note: Callable[[str], None]) -> Iterator[Item]:
    """A file on the disk. Its index is ``index``, or one beside it, or is built for this run."""
    with LocalBytes(path) as data:
        file = look(data)
        yield Item(path.name, file, lambda: indexes.local(file, path, index, note), note)


def interruptible(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """Let a thread do ``work``: htslib, where it waits for bytes, would keep an interrupt from being seen.

    ``stop`` is called on an interrupt, and ends the work soon. Raises Cancelled then.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="slicing")
    future = pool.submit(work)
    try:
        while not future.done():
            wait([future], timeout=0.5)  # in pieces, so that an interrupt is seen
        return future.result()
    except KeyboardInterrupt:
        stop()
        wait([future], timeout=GRACE)
        raise Cancelled("Interrupted.", hint="Files are written whole or not at all.") from None
    finally:
        pool.shutdown(wait=False)

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
from score.errors import Cancelled, Unavailable
from score.genomics.indexes import Index
from score.slicing import indexes
from score.slicing.records import pysam
from score.slicing.sources import LocalBytes, look
from score.slicing.view import Item
from score.transfer.events import Note

T = TypeVar("T")


@contextlib.contextmanager
def remote(client: Client, object_id: str, *, indexed: bool, verify: bool = False, label: str = "") -> Iterator[Item]:
    """An object of a server, with ``indexed`` its index as well. Its outputs are named after ``label``, or its name.

    What can be asked at the same time is: the object's head, its name, and its index behind that. The head shows that
    the store can be reached; with ``verify``, where it does not come, the sentinel tells more of the reason.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="view") as pool, client.remote(object_id) as data:
        looked = pool.submit(look, data)
        known = pool.submit(_registered, client, object_id, indexed)
        pysam()  # a tenth of a second, while others answer
        data.name, index = known.result()
        try:
            file = looked.result()
        except Unavailable:
            if verify:
                client.connect()
            raise

        def note(text: str) -> None:
            client.engine.listener(Note(data.name, text))

        yield Item(data.name, file, lambda: index, note, client.stop.check, label)


def _registered(client: Client, object_id: str, indexed: bool) -> tuple[str, Index | None]:
    """The name of an object in the registry and, with ``indexed``, the index that the registry has for it."""
    entity = client.catalog.entity(object_id)
    name = plain(entity.file_name or object_id, "File name")
    found = client.catalog.index_of(entity) if indexed else None
    if found is None:
        return name, None
    with client.remote(found.id, plain(found.file_name, "File name")) as file:
        return name, indexes.load(file)


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

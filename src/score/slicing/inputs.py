"""Inputs of ``view``: objects with the indexes that the registry has for them, and local files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TypeVar

from score.client.client import Client
from score.client.layout import plain
from score.client.many import GRACE
from score.errors import Cancelled, NotFound, Unavailable
from score.genomics.indexes import Index
from score.protocol.wire import Entity
from score.slicing import indexes
from score.slicing.records import pysam
from score.slicing.sources import LocalBytes, look
from score.slicing.view import Item
from score.transfer.events import Note

T = TypeVar("T")
_TEXTS = (".vcf", ".sam")
"""Names of files that no index leads into."""


@contextlib.contextmanager
def remote(client: Client, object_id: str, *, indexed: bool, verify: bool = False, label: str = "") -> Iterator[Item]:
    """An object of a server, with ``indexed`` its index as well. Its outputs are named after ``label``, or its name.

    What can be asked at the same time is: the object's head, its name, and its index behind that. The head shows that
    the store can be reached; with ``verify``, where it does not come, the sentinel tells more of the reason. What is
    wrong with the index is told where it is asked for; that of a text is not fetched before, since nobody may ask.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="view") as pool, client.remote(object_id) as data:
        looked = pool.submit(look, data)
        known = pool.submit(client.catalog.entity, object_id)
        pysam()  # a tenth of a second, while others answer
        entity = known.result()
        data.name = name = plain(entity.file_name or object_id, "File name")
        index: Callable[[], Index | None] = partial(_registered, client, entity)
        if indexed and not name.lower().endswith(_TEXTS):
            index = pool.submit(index).result
        try:
            file = looked.result()
        except Unavailable:
            if verify:
                client.connect()
            raise

        def note(text: str) -> None:
            client.engine.listener(Note(data.name, text))

        yield Item(name, file, index, note, client.stop.check, label)


def _registered(client: Client, entity: Entity) -> Index | None:
    """The index that the registry has for an object: the first that is stored, None where none is registered.

    Raises NotFound where none is stored, Integrity where it is none.
    """
    absent = []
    for found in client.catalog.indexes_of(entity):
        name = plain(found.file_name, "File name")
        try:
            with client.remote(found.id, name) as file:
                return indexes.load(file)
        except NotFound:
            absent.append(name)
    if absent:
        raise NotFound(
            f"{entity.file_name} has an index in the registry, {' and '.join(absent)}, which is not in the store.",
            hint="Have it uploaded. To read all of the file for its regions: --scan.",
        )
    return None


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

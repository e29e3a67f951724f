"""Doing something with every object of a list, and with the index files that belong to them, each once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from score.client.many import FATAL, Many, Once
from score.client.outcome import Outcome, State
from score.client.packed import packed_ids
from score.errors import Cancelled, ScoreError
from score.protocol.wire import Entity

if TYPE_CHECKING:
    from score.client.client import Client

WIDTH = 4
"""Objects under way for each part under way."""


def each_entity(
    client: Client,
    object_ids: Iterable[str],
    work: Callable[[Entity], Outcome],
    path_of: Callable[[Entity], Path],
    *,
    index: bool,
    skip: Container[str],
) -> Iterator[Outcome]:
    """``work`` on what the metadata service says of each object, several at once; one that fails does not stop the
    rest. Index files among ``skip`` are left out. Raises Invalid where an id is none."""
    once = Once()

    def guarded(entity: Entity) -> list[Outcome]:
        if not once.begin(entity.id):
            return []
        path: Path | None = None
        try:
            path = path_of(entity)
            return [work(entity)]
        except (Cancelled, *FATAL):
            raise
        except ScoreError as error:
            return [Outcome(entity.id, State.FAILED, path, error=error)]

    def one(object_id: str) -> list[Outcome]:
        entity = client.catalog.entity(object_id)
        found = client.catalog.index_of(entity) if index else None
        return guarded(entity) + (guarded(found) if found and found.id not in skip else [])

    width, outage = WIDTH * client.settings.parallel, client.engine.outage
    many = Many(one, lambda object_id: (object_id, None), width, client.stop, client.engine.listener, outage=outage)
    for _, outcomes in many.run(packed_ids(object_ids)):
        yield from outcomes

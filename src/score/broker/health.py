"""Whether the service and what it depends on are well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from score.auth.base import Authorizer
from score.broker.state import Layout
from score.errors import ScoreError
from score.metadata.base import Registry
from score.storage.base import ObjectStore

_PATIENCE = 8.0
"""Seconds that a look at one component may take."""
_SKEW = 300.0
"""Seconds by which the clocks of store and server may differ: stores refuse signatures beyond 15 minutes."""

Look = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """``ok``: the buckets can be used; ``problems`` has a sentence, or an empty one, for each component."""

    ok: bool
    problems: Mapping[str, str]


class Health:
    """Looks at the buckets, the registry and the authorization server. Nothing is kept: each look is a new one."""

    def __init__(
        self,
        objects: ObjectStore,
        state: ObjectStore,
        registry: Registry,
        authorizer: Authorizer | None,
        layout: Layout,
        sentinel: str,
    ) -> None:
        self._objects = objects
        self._sentinel = layout.sentinel(sentinel)
        self._needed: dict[str, Look] = {"objectBucket": lambda: _bucket(objects)}
        if state is not objects:
            self._needed["stateBucket"] = lambda: _bucket(state)
        self._others: dict[str, Look] = {"sentinel": self._missing_sentinel, "registry": registry.probe}
        if authorizer is not None:
            self._others["authorization"] = authorizer.probe

    async def is_up(self) -> bool:
        """Whether the buckets can be used."""
        return not any(await asyncio.gather(*[_look(look) for look in self._needed.values()]))

    async def report(self) -> Report:
        """Every component."""
        looks = {**self._needed, **self._others}
        said = await asyncio.gather(*[_look(look) for look in looks.values()])
        problems = dict(zip(looks, said, strict=True))
        return Report(not any(problems[name] for name in self._needed), problems)

    async def _missing_sentinel(self) -> str:
        try:
            found = await self._objects.stat(self._sentinel)
        except ScoreError as error:
            return f"It cannot be looked for. {error.message}"
        if found is None:
            return (
                f"The sentinel {self._sentinel!r} is not in the bucket {self._objects.name!r}: clients cannot verify"
                " their connection."
            )
        return ""


async def _bucket(store: ObjectStore) -> str:
    probe = await store.probe()
    if probe.ok and probe.clock_skew is not None and abs(probe.clock_skew) > _SKEW:
        return (
            f"The clock of the store differs by {probe.clock_skew:.0f} s from this server's. Set one of them right."
        )
    return "" if probe.ok else probe.problem or f"The bucket {store.name!r} cannot be used."


async def _look(look: Look) -> str:
    try:
        return await asyncio.wait_for(look(), _PATIENCE)
    except TimeoutError:
        return f"No answer within {_PATIENCE:.0f} s."

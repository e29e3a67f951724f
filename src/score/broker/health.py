"""Whether the service and what it depends on are well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from score.auth.base import Authorizer
from score.broker.state import Layout
from score.broker.together import Together
from score.errors import ScoreError
from score.metadata.base import Registry
from score.storage.base import ObjectStore, Probe

_PATIENCE = 8.0
"""Seconds that a look at one component may take."""
_SILENCE = f"No answer within {_PATIENCE:.0f} s."
_SKEW = 300.0
"""Seconds by which the clocks of store and server may differ before it is told; stores refuse signatures beyond 15
minutes, and say so themselves."""

Look = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """``ok``: the buckets can be used; ``problems`` has a sentence, or an empty one, for each component. A clock that
    is wrong is one too."""

    ok: bool
    problems: Mapping[str, str]


class Health:
    """Looks at the buckets, the registry and the authorization server. Nothing is kept: each look is a new one, which
    those share who ask while another one is under way."""

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
        self._needed = {"objectBucket": objects}
        if state is not objects:
            self._needed["stateBucket"] = state
        self._others: dict[str, Look] = {"sentinel": self._missing_sentinel, "registry": registry.probe}
        if authorizer is not None:
            self._others["authorization"] = authorizer.probe
        self._asking: Together[str, bool] = Together()
        self._reporting: Together[str, Report] = Together()

    async def is_up(self) -> bool:
        """Whether the buckets can be used."""
        return await self._asking.ask("", self._look_at_buckets)

    async def report(self) -> Report:
        """Every component."""
        return await self._reporting.ask("", self._look_at_all)

    async def _look_at_buckets(self) -> bool:
        return all(probe.ok for probe in await asyncio.gather(*map(_probe, self._needed.values())))

    async def _look_at_all(self) -> Report:
        probes, said = await asyncio.gather(
            asyncio.gather(*map(_probe, self._needed.values())),
            asyncio.gather(*map(_look, self._others.values())),
        )
        problems = {name: probe.problem for name, probe in zip(self._needed, probes, strict=True)}
        problems |= zip(self._others, said, strict=True)
        skew = max((probe.clock_skew or 0.0 for probe in probes), key=abs)
        if abs(skew) > _SKEW:
            problems["clock"] = (
                f"The clock of the store differs by {skew:.0f} s from this server's. Set one of them right, before"
                " the store refuses every call."
            )
        return Report(all(probe.ok for probe in probes), problems)

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


async def _probe(store: ObjectStore) -> Probe:
    """What the store says of itself, with a problem where it cannot be used, and else with none."""
    try:
        probe = await asyncio.wait_for(store.probe(), _PATIENCE)
    except TimeoutError:
        return Probe(ok=False, problem=_SILENCE)
    if probe.ok:
        return replace(probe, problem="")
    return replace(probe, problem=probe.problem or f"The bucket {store.name!r} cannot be used.")


async def _look(look: Look) -> str:
    try:
        return await asyncio.wait_for(look(), _PATIENCE)
    except TimeoutError:
        return _SILENCE

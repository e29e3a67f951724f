"""``score-server verify``: reads every object again; exit status 1 where one is not as it was uploaded."""

from __future__ import annotations

from score.broker.verification import Verification
from score.server.build import layout_of
from score.server.commands import Call, opened, say

FLAGS: set[str] = set()


async def run(call: Call) -> int:
    """Name what is damaged or lost."""
    read = proven = bad = size = 0
    async with opened(call.settings) as service:
        verification = Verification(service.objects, service.state, layout_of(call.settings))
        async for verdict in verification.run():
            read += 1
            size += verdict.size
            if verdict.problem:
                bad += 1
                say(f"DAMAGED  {verdict.object_id}: {verdict.problem}")
            elif verdict.unproven:
                say(f"unknown  {verdict.object_id}: it has no .meta with checksums.")
            else:
                proven += 1
    say(f"{read} objects, {size} bytes: {proven} as uploaded, {bad} damaged or lost, {read - proven - bad} unknown.")
    return int(bad > 0)

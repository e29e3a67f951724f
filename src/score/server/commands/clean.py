"""``score-server clean``: the cleanup of stale uploads, now."""

from __future__ import annotations

from score.server.build import cleanup_of
from score.server.commands import Call, opened, say

FLAGS = {"--dry-run"}


async def run(call: Call) -> int:
    """Remove stale uploads; with ``--dry-run`` only name them. Exit status 1 where one could not be removed."""
    async with opened(call.settings) as service:
        cleanup = cleanup_of(service, call.settings)
        if "--dry-run" in call.flags:
            number = 0
            async for stale in cleanup.find():
                number += 1
                say(f"would remove {stale}")
            say(f"{number} stale uploads, older than {call.settings.s3_upload_days} days. Nothing was removed.")
            return 0
        swept = await cleanup.run()
    say(f"{swept.removed} stale uploads removed, {swept.failed} could not be.")
    return int(swept.failed > 0)

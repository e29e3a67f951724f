"""``score-server check``: one line for each part of the site; exit status 1 where one is wrong."""

from __future__ import annotations

from score.broker.checks import as_json
from score.server.build import checks_of
from score.server.commands import Call, opened, say
from score.server.tls import server_context

FLAGS = {"--fix", "--json"}


async def run(call: Call) -> int:
    """Run the checks. ``--fix`` puts a missing sentinel. Raises Misconfigured where a server could not start."""
    server_context(call.settings)
    async with opened(call.settings) as service:
        findings = await checks_of(service, call.settings).run(fix="--fix" in call.flags)
    if "--json" in call.flags:
        say(as_json(findings))
    else:
        for warning in call.reading.warnings:
            say(f"note   settings: {warning}")
        for finding in findings:
            say(str(finding))
    return int(any(finding.problem for finding in findings))

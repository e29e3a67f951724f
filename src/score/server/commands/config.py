"""``score-server config``: the settings in force, where each came from, secrets masked."""

from __future__ import annotations

import json

from pydantic import SecretStr

from score.server.commands import Call, say
from score.server.settings import FIELDS, Settings

FLAGS = {"--json"}
_IDENTIFYING = {"s3_access_key"}
"""Half of a secret: nothing for a screen that others see."""


async def run(call: Call) -> int:
    """Print every setting with its value and its origin. Exit status 1 where a server could not start with them."""
    rows = [(alias, show(call.settings, name), call.reading.origin(alias)) for alias, name in FIELDS.items()]
    if "--json" in call.flags:
        listed = [{"name": alias, "value": value, "from": origin} for alias, value, origin in rows]
        document = {"profiles": call.settings.profiles, "settings": listed, "warnings": call.reading.warnings}
        say(json.dumps({**document, "missing": call.reading.missing}, indent=2))
        return int(bool(call.reading.missing))
    say(f"profiles: {', '.join(call.settings.profiles)}")
    width = max(len(alias) + len(value) for alias, value, _ in rows if len(value) < 60) + 1
    for alias, value, origin in rows:
        say(f"{f'{alias}={value}':{width}}  # {origin}")
    for warning in call.reading.warnings:
        say(f"warning: {warning}")
    if call.reading.missing:
        say(f"missing: {call.reading.missing}")
    return int(bool(call.reading.missing))


def show(settings: Settings, name: str) -> str:
    """The value of a setting as it is written; of a secret only whether there is one."""
    value = getattr(settings, name)
    if isinstance(value, SecretStr) or name in _IDENTIFYING:
        return "******" if str(getattr(value, "get_secret_value", lambda: value)()) else ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

"""``score-server config``: the settings in force, where each came from, secrets masked."""

from __future__ import annotations

from pydantic import SecretStr

from score.config.shown import MASK, Row, Shown
from score.server.commands import Call, say
from score.server.settings import FIELDS, Settings, written

FLAGS = {"--json"}
_IDENTIFYING = {"s3_access_key"}
"""Half of a secret: nothing for a screen that others see."""


async def run(call: Call) -> int:
    """Print every setting with its value and its origin. Exit status 1 where a server could not start with them."""
    rows = [Row(alias, show(call.settings, name), call.reading.origin(alias)) for alias, name in FIELDS.items()]
    shown = Shown(call.settings.profiles, rows, call.reading.warnings, call.reading.missing)
    for line in [shown.document()] if "--json" in call.flags else shown.lines():
        say(line)
    return int(bool(call.reading.missing))


def show(settings: Settings, name: str) -> str:
    """The value of a setting as it is written; of a secret only whether there is one."""
    value = getattr(settings, name)
    hidden = isinstance(value, SecretStr) or name in _IDENTIFYING
    return MASK if hidden and written(value) else written(value)

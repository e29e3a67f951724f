"""``score-server key create|list|revoke``: the embedded keys, for sites without an authorization server."""

from __future__ import annotations

import re
import sys
import time
from contextlib import closing
from datetime import UTC, datetime

from score.auth.embedded import KeyFile, KeyRecord
from score.errors import Misconfigured
from score.server.authorization import scopes_of
from score.server.commands import Call, say
from score.server.settings import Settings

FLAGS: set[str] = set()
OPTIONS = ("--scope", "--expires")
TAKES_WORDS = True
_USAGE = (
    "score-server key create NAME --scope SCOPE ... [--expires 30d|2027-01-31] | key list | key revoke FINGERPRINT"
)
_UNITS = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


async def run(call: Call) -> int:
    """Do what the first word says. ``create`` prints the key, and nothing else, to standard output."""
    match call.words:
        case ["create", name]:
            return create(call, name)
        case ["list"] if not call.options:
            return show(call.settings)
        case ["revoke", which] if not call.options:
            return revoke(call.settings, which)
    raise Misconfigured("That is no way to use key.", hint=_USAGE)


def create(call: Call, name: str) -> int:
    """Make a key."""
    scopes = [word for given in call.options.get("--scope", ()) for word in given.split(",") if word]
    expiries = call.options.get("--expires", ())
    if not scopes or len(expiries) > 1:
        raise Misconfigured("A key needs at least one --scope, and may have one --expires.", hint=_USAGE)
    expires = end_of(expiries[0], time.time()) if expiries else None
    path = call.settings.key_file.absolute()
    with closing(KeyFile(path)) as file:
        key = file.create(name, scopes, expires)
    say(key)
    notes = [f"The key of {name}; it is shown only this once. Kept (hashed) in {path}."]
    notes += [f"Note: {scope} gives nothing under the present settings." for scope in idle(call.settings, scopes)]
    if not call.settings.secure or call.settings.provider != "embedded":
        notes.append("Note: the server takes it under the profile secure with auth.server.provider=embedded.")
    for note in notes:
        print(note, file=sys.stderr)  # noqa: T201
    return 0


def show(settings: Settings) -> int:
    """List all keys, by their fingerprints."""
    with _open(settings) as file:
        records = file.records()
    for record in records:
        say(line(record, time.time()))
    return 0


def revoke(settings: Settings, which: str) -> int:
    """Make a key useless."""
    with _open(settings) as file:
        record = file.revoke(which)
    say(line(record, time.time()))
    say(f"Servers that run take it for up to {settings.auth_cache} s more (auth.cache.seconds).")
    return 0


def line(record: KeyRecord, now: float) -> str:
    """One line on a key."""
    end = "never" if record.expires is None else _day(record.expires)
    return (
        f"{record.fingerprint}  {record.state(now):7}  made {_day(record.created)}  expires {end}  {record.subject}:"
        f" {' '.join(record.scopes)}"
    )


def end_of(text: str, now: float) -> float:
    """``30d``, ``12h``, ``8w`` from now, or the beginning of a day (UTC), in seconds since 1970. Or Misconfigured."""
    if found := re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text):
        return now + int(found[1]) * _UNITS[found[2]]
    try:
        end = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        end = 0.0
    if end <= now:
        raise Misconfigured(f"--expires {text[:40]!r} is no time to come.", hint="Such as 30d, 12h, 8w, 2027-01-31.")
    return end


def idle(settings: Settings, scopes: list[str]) -> list[str]:
    """Those of the scopes that no setting gives a meaning."""
    rights = scopes_of(settings)
    return [scope for scope in scopes if not any(right.knows(scope) for right in (rights.download, rights.upload))]


def _open(settings: Settings) -> closing[KeyFile]:
    path = settings.key_file.absolute()
    if not path.is_file():
        raise Misconfigured(
            f"There is no file of keys {path}.",
            hint="Run this in the server's folder, or give --local.directory=DIR or --auth.embedded.file=FILE.",
        )
    return closing(KeyFile(path))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")

"""The subcommands of ``score-server``, one module each, with a ``FLAGS`` and an ``async run``."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from score.config.sources import canonical
from score.errors import Misconfigured
from score.server.reading import Reading, read_settings
from score.server.settings import FIELDS, Settings

if TYPE_CHECKING:
    from score.server.build import Service

COMMANDS = {
    "check": ("[--fix] [--json]", "Try out store, Song and authorization server; --fix puts a missing sentinel"),
    "clean": ("[--dry-run]", "Remove stale uploads now, as upload.clean.cron does"),
    "config": ("[--json]", "Show the settings in force, and where each came from"),
    "delete": ("OBJECT-ID ...", "Tell what would be removed; with --yes remove it for good"),
    "key": ("create|list|revoke", "Make a key for NAME with --scope and --expires; list keys; revoke one"),
    "ping": ("", "Ask the server that runs here with these settings whether it is ready"),
    "verify": ("", "Read all objects again and compare their checksums"),
}
"""Of each command its options, and what it does."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command line taken apart: flags of the command, words that are neither flags nor settings, the settings, and
    the values of the command's options, in their order."""

    flags: frozenset[str]
    words: tuple[str, ...]
    reading: Reading
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.reading.settings


def run(name: str, arguments: Sequence[str]) -> int:
    """Run a command; gives its exit status. Raises errors of the tree."""
    module = importlib.import_module(f"score.server.commands.{name}")
    options, rest = take_options(getattr(module, "OPTIONS", ()), arguments)
    flags, words, settings = take_apart(name, module.FLAGS, rest)
    if words and not getattr(module, "TAKES_WORDS", False):
        raise Misconfigured(f"{name} takes no {words[0]!r}.")
    call = Call(
        flags, words, read_settings(settings, os.environ, Path.cwd(), complete=name not in ("config", "key")), options
    )
    status: int = asyncio.run(module.run(call))
    return status


def take_options(names: Collection[str], arguments: Sequence[str]) -> tuple[Mapping[str, tuple[str, ...]], list[str]]:
    """The values of options, given as ``--name=value`` or ``--name value``, and the other words. Misconfigured for
    one without a value."""
    found: dict[str, list[str]] = {}
    rest = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in names:
            rest.append(word)
            continue
        given = value if equals else next(words, "")
        if not given or (not equals and given.startswith("--")):
            raise Misconfigured(f"{name} needs a value.", hint=f"Give it as {name}=VALUE.")
        found.setdefault(name, []).append(given)
    return {name: tuple(values) for name, values in found.items()}, rest


def take_apart(
    name: str, flags: Collection[str], arguments: Sequence[str]
) -> tuple[frozenset[str], tuple[str, ...], list[str]]:
    """Flags, other words, and settings. Misconfigured for an option that is neither: one that is misspelled must not
    turn a rehearsal into the deed."""
    given, words, settings = set(), [], []
    switches = {canonical(alias) for alias in FIELDS if "." not in alias}
    for word in arguments:
        option, equals, _ = word.partition("=")
        if word in flags:
            given.add(word)
        elif not word.startswith("-"):
            words.append(word)
        elif ("." in option and equals) or canonical(option[2:]) in switches:
            settings.append(word)
        else:
            known = ", ".join([*sorted(flags), "--NAME=VALUE"])
            raise Misconfigured(f"{option} is no option of {name}.", hint=f"There are: {known}.")
    return frozenset(given), tuple(words), settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """The service of these settings. Misconfigured where its local folder is not there: it is not made by the way."""
    if settings.store == "local" and not settings.local_directory.is_dir():
        raise Misconfigured(
            f"There is no local store in {settings.local_directory.absolute()}.",
            hint="Run this in the server's folder, or give --local.directory=DIR.",
        )
    from score.server.build import open_service
    from score.server.trail import write_audit_to

    write_audit_to(settings.audit_file)
    service = await open_service(settings)
    try:
        yield service
    finally:
        await service.close()


def say(text: str) -> None:
    """Print a line; where standard output takes no more, that is the end."""
    if not printed(text):
        raise SystemExit(1)


def printed(text: str) -> bool:
    """Print a text. False where standard output takes no more: what comes leads nowhere. Nobody who ends reading, as
    ``| head -1``, has to be told; of a full disk people are."""
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            print(f"score-server: Standard output cannot be written: {error.strerror}.", file=sys.stderr)  # noqa: T201
        return False
    return True

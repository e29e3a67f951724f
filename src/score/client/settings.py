"""The client's settings, by the names of Score's public documentation. Protocol, section 8."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from score.client import tls
from score.client.tls import Tls
from score.config.shown import MASK, Row, Shown
from score.config.sources import Values, load, wrong
from score.errors import Misconfigured
from score.protocol.blocks import LARGEST_BLOCK
from score.transfer.events import ENDLESS
from score.transfer.http import Timeouts
from score.transfer.retry import Patience

# Of each setting what it means; its default, where it has one, stands in parentheses at the end.
NAMES: Mapping[str, str] = {
    "accessToken": "API key or JWT for Score and Song (environment: ACCESSTOKEN)",
    "accessTokenFile": "file that holds the access token; read when accessToken is not set",
    "storage.url": "address of the Score server (environment: STORAGE_URL)",
    "storage.retryNumber": "how often a call is made before it counts as failed; negative: without end (10)",
    "storage.retryTimeout": "seconds before the first repetition; doubled each time (1)",
    "metadata.url": "address of Song (environment: METADATA_URL); the Score server's where not set",
    "metadata.ssl.enabled": "false: the certificate of Song is not looked at, and no token is sent there (true)",
    "portal.url": "address of the portal that serves manifests by UUID",
    "client.ansi": "colours and a moving display: true, false; else by the terminal",
    "client.silent": "no output but errors (false)",
    "client.quiet": "no progress display (false)",
    "client.connectTimeoutSeconds": "seconds to wait for a connection (60)",
    "client.readTimeoutSeconds": "seconds to wait for an answer (60)",
    "client.uploadStateDir": "folder for the state of uploads; beside each file where not set",
    "transport.parallel": "parts moved at once, over all files (6)",
    "transport.memory": "upper bound in GiB for buffers, over all files; far less is used (1)",
    "transport.fileFrom": "accepted for compatibility; the way to read files is fixed",
    "reading.cache.disk": "GiB of disk for what mounts and programs have read, beside 128 MiB of memory (0)",
    "reading.cache.folder": "folder of that; the system's temporary folder where not set",
    "mount.logging": "mount: true writes every open and close to the log (false)",
    "azure.blockSize": "bytes of each block of an upload to Azure (104857600)",
    "defaultProfile": "how to upload where the server does not tell: s3 or az (s3)",
    **tls.NAMES,
}

SWITCHES = (
    "metadata.ssl.enabled", "client.ansi", "client.silent", "client.quiet", "client.ssl.custom", "mount.logging",
)  # fmt: skip
"""Settings that are true or false."""
FOREIGN = ("storage.profile",)
"""Settings of the reference's client that are read by nothing, or elsewhere."""
MISSPELLED = {"client.accessToken": "accessToken"}
"""Other names for settings that the reference's client knows."""
SECRETS = ("accessToken", "client.ssl.trustStorePassword", "client.ssl.keyStorePassword")
_DEFAULT = re.compile(r"\((?!environment: )([^()]+)\)\Z")


@dataclass(frozen=True)
class Settings:
    """What a client works with. ``token`` is empty where none is set; addresses end without a slash.

    ``metadata_url`` is that of Song; where it is not given, the Score server's, as with the embedded registry.
    ``cache_disk`` is in GiB.
    """

    storage_url: str
    metadata_url: str = ""
    token: str = ""
    portal_url: str = ""
    patience: Patience = field(default_factory=Patience)
    timeouts: Timeouts = field(default_factory=Timeouts)
    upload_state: Path | None = None
    parallel: int = 6
    memory: float = 1.0
    default_profile: str = "s3"
    block_size: int = 104_857_600
    cache_disk: float = 0.0
    cache_folder: Path | None = None
    tls: Tls = field(default_factory=Tls)
    verify_metadata: bool = True

    @classmethod
    def load(cls, **given: str) -> Settings:
        """The settings as score-client finds them, in the current folder and the environment; those ``given`` count
        more (``storage_url="..."`` is ``storage.url``). Raises Misconfigured, also for a name that is no setting."""
        arguments = [f"--{name.replace('_', '.')}={value}" for name, value in given.items()]
        values = read(arguments, os.environ, Path())
        for one in values.unknown:
            if one.origin.startswith("option "):  # those of files are warned of by who has a terminal for it
                name, meant = (text.replace(".", "_") for text in (one.name, one.meant or "storage.url"))
                raise Misconfigured(
                    f"{name!r} is no setting of a client.",
                    hint=f"Name it as in the list of settings, with _ for each dot, as {meant}.",
                )
        return settings(values)

    def __post_init__(self) -> None:
        for name, url in (("storage_url", self.storage_url), ("metadata_url", self.metadata_url or self.storage_url)):
            object.__setattr__(self, name, url.rstrip("/"))
        object.__setattr__(self, "token", _plausible(self.token.strip(), "token"))
        for name, number in (("parallel", self.parallel), ("memory", self.memory), ("block_size", self.block_size)):
            if not number > 0:
                raise Misconfigured(
                    f"{name} is {number}, and has to be more than 0.", hint="Leave it out, or raise it."
                )

    def __repr__(self) -> str:  # the token stays out of every trace
        return f"Settings({self.storage_url}, {self.metadata_url}, token {'set' if self.token else 'not set'})"


@dataclass(frozen=True)
class Display:
    """How much a terminal is told. ``ansi`` is None where the terminal itself decides."""

    quiet: bool = False
    silent: bool = False
    ansi: bool | None = None


def read(arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> Values:
    """Collect the settings from files, environment and ``--name=value`` arguments. Raises Misconfigured."""
    known = [*NAMES, *FOREIGN]
    prefixes = ("storage", "metadata", "transport", "client", "portal", "azure", "reading")
    return load(
        arguments=arguments,
        environ=environ,
        folder=folder,
        known=known,
        valued=[name for name in NAMES if name not in SWITCHES],
        misspelled=MISSPELLED,
        prefixes=prefixes,
    )


def settings(values: Values, *, server: bool = True) -> Settings:
    """The settings, checked. Raises Misconfigured, naming the setting, where it stands, and what is expected.

    With ``server`` the address of one must be set.
    """
    storage = _address(values, "storage.url")
    if not storage and server:
        raise no_server()
    profile = values.text("defaultProfile", "s3")
    return Settings(
        storage_url=storage,
        metadata_url=_address(values, "metadata.url") or storage,
        token=_token(values),
        portal_url=_address(values, "portal.url"),
        patience=Patience(
            attempts=_attempts(values),
            first_wait=values.number("storage.retryTimeout", 1.0),
        ),
        timeouts=Timeouts(
            connect=values.number("client.connectTimeoutSeconds", 60.0, least=0.1),
            read=values.number("client.readTimeoutSeconds", 60.0, least=0.1),
        ),
        upload_state=values.path("client.uploadStateDir"),
        parallel=values.integer("transport.parallel", 6, least=1, most=256),
        memory=values.number("transport.memory", 1.0, least=0.001),
        default_profile=profile,
        block_size=values.integer("azure.blockSize", 104_857_600, least=1, most=LARGEST_BLOCK),
        cache_disk=values.number("reading.cache.disk", 0.0),
        cache_folder=values.path("reading.cache.folder"),
        tls=tls.read_tls(values),
        verify_metadata=values.boolean("metadata.ssl.enabled", True),
    )


def no_server() -> Misconfigured:
    """The error for settings without the address of a server."""
    return Misconfigured(
        "No address of a Score server is set.",
        hint="Set storage.url in conf/application.properties, STORAGE_URL in the environment, "
        "or give --storage.url=http://localhost:8087.",
    )


def shown(values: Values) -> Shown:
    """All settings in force, with where each came from. Raises Misconfigured for a value that cannot be right."""
    taken = settings(values, server=False)
    display(values)
    rows = [_row(values, name) for name in NAMES]
    missing = "" if taken.storage_url else str(no_server())
    return Shown(values.profiles or ("default",), rows, warnings(values), missing)


def _row(values: Values, name: str) -> Row:
    value = values.get(name)
    if value is not None and value.text:
        return Row(name, MASK if name in SECRETS else value.text, value.origin)
    default = found[1] if (found := _DEFAULT.search(NAMES[name])) else ""
    if name == "metadata.url":
        storage = values.get("storage.url")
        return Row(name, storage.text if storage else "", "storage.url")
    return Row(name, default, "default" if default else "not set")


def warnings(values: Values) -> list[str]:
    """What a user should be told of the settings."""
    return [*values.warnings, *map(str, values.unknown), *advice(values)]


def advice(values: Values) -> list[str]:
    """Warnings about settings that are valid, but not safe."""
    said = []
    if not values.boolean("metadata.ssl.enabled", True):
        said.append(
            "metadata.ssl.enabled is false: whoever answers in place of Song is believed; no token is sent there."
        )
    path = values.path("accessTokenFile")
    if path is not None and not values.text("accessToken") and os.name == "posix":
        with contextlib.suppress(OSError):  # one that is not there is told of where it is read
            if path.stat().st_mode & 0o077:
                said.append(f"accessTokenFile: {path} can be read by others. Make it yours alone: chmod 600 {path}")
    return said


def display(values: Values) -> Display:
    """How much to show. Raises Misconfigured."""
    ansi = values.get("client.ansi")
    return Display(
        quiet=values.boolean("client.quiet", False),
        silent=values.boolean("client.silent", False),
        ansi=values.boolean("client.ansi", False) if ansi is not None and ansi.text else None,
    )


def _attempts(values: Values) -> int:
    number = values.get("storage.retryNumber")
    if number is not None and number.text.startswith("-"):
        values.integer("storage.retryNumber", 10, least=-ENDLESS)
        return ENDLESS
    return values.integer("storage.retryNumber", 10, least=1)


def _address(values: Values, name: str) -> str:
    value = values.get(name)
    if value is None or not value.text:
        return ""
    try:
        parts = urlsplit(value.text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise wrong(name, value, "an address such as http://localhost:8087")
    return value.text.rstrip("/")


def _token(values: Values) -> str:
    token = values.text("accessToken").strip()
    if token:
        return _plausible(token, "accessToken")
    file = values.path("accessTokenFile")
    if file is None:
        return ""
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not a text file"
        raise Misconfigured(
            f"accessTokenFile: {file} cannot be read: {reason}.", hint="Check the path, and who may read the file."
        ) from None
    if not token:
        raise Misconfigured(f"accessTokenFile: {file} is empty.", hint="Write the access token into it.")
    return _plausible(token, f"accessTokenFile: {file}")


def _plausible(token: str, where: str) -> str:
    """The token, which travels in a header; empty where there is none. Raises Misconfigured, without showing it."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise Misconfigured(
            f"{where}: that is no access token; it holds blanks, line ends or odd characters.",
            hint="Set it again, and nothing else with it.",
        )
    return token

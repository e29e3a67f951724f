"""Where a request comes from and goes to, what it is called, and where audit lines go."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from logging.handlers import WatchedFileHandler

from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from score.broker.audit import log as audit_log
from score.errors import Misconfigured

log = logging.getLogger(__name__)

UNMATCHED = "unmatched"
"""The template of requests that no route answered."""
Networks = Sequence[IPv4Network | IPv6Network]
_PORT = re.compile(r"\A\[(.*)\](:\d+)?\Z|\A(\d+\.\d+\.\d+\.\d+):\d+\Z")
_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}\Z")


def request_id(scope: Scope) -> str:
    """The caller's ``X-Request-Id`` where it is a plain word of at most 64 characters, else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return given[0].decode() if len(given) == 1 and _SANE.match(given[0]) else new_id()


def new_id() -> str:
    """A name for a request."""
    return secrets.token_hex(8)


class Templates:
    """The templates of routes, ``/upload/{object_id}``: what requests are counted by. ``beside`` are routes that are
    not of the web framework, which tells of its own."""

    def __init__(self, beside: Iterable[BaseRoute]) -> None:
        self._paths: dict[object, str] = {route.endpoint: route.path for route in beside if isinstance(route, Route)}

    def of(self, scope: Scope) -> str:
        """The template of the route that answered a request, ``unmatched`` where none did."""
        path = getattr(scope.get("route"), "path", None) or self._paths.get(scope.get("endpoint"))
        return str(path) if path else UNMATCHED


def client_of(scope: Scope, proxies: Networks) -> str:
    """The address of the caller: the connection's, or what trusted proxies say of it in ``X-Forwarded-For``.

    Every proxy appends the address that it was called from, so the last one that is no trusted proxy's counts: what
    stands before it was written by the caller.
    """
    address = scope["client"][0] if scope["client"] else "-"
    if not proxies or not _is_of(address, proxies):
        return address
    said = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    for word in reversed(said.decode("latin-1").split(",")):
        hop = _address(_PORT.sub(r"\1\3", word.strip()))
        if hop is None or "%" in word:  # behind that sign anything may stand
            return address
        address = str(hop)
        if not _is_of(address, proxies):
            return address
    return address


def _is_of(address: str, networks: Networks) -> bool:
    one = _address(address)
    return one is not None and any(one.version == network.version and one in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, that of IPv4 where it is written as one of IPv6; None where it is none."""
    try:
        one = ip_address(text)
    except ValueError:
        return None
    return (one.ipv4_mapped or one) if isinstance(one, IPv6Address) else one


class AuditFile(WatchedFileHandler):
    """Appends lines to a file that only its owner may read, and goes on in a new one when logrotate moved it."""

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return open(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:  # of opening the file anew; that of writing is caught above
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is of the standard library
        """A line that cannot be written to the file must not be lost: it goes to the log."""
        log.error("The audit file %s cannot be written; its line: %s", self.baseFilename, record.getMessage())


def write_audit_to(path: str) -> None:
    """Let audit lines go to a file, and to it alone; to the log where ``path`` is empty.

    Misconfigured where it cannot be written.
    """
    for handler in [one for one in audit_log.handlers if isinstance(one, AuditFile)]:
        audit_log.removeHandler(handler)
        handler.close()
    audit_log.setLevel(logging.INFO)
    audit_log.propagate = not path
    if path:
        try:
            audit_log.addHandler(AuditFile(path))
        except OSError as error:
            raise Misconfigured(f"server.audit.file: {path} cannot be written: {error.strerror}.") from error

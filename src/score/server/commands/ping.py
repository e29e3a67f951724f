"""``score-server ping``: whether the server that runs here with these settings is ready. For the health checks of
containers, which have no other program to ask with."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl

from score.server.commands import Call, say
from score.server.settings import Settings

FLAGS: frozenset[str] = frozenset()
_PATIENCE = 8.0
"""Seconds. A server takes up to 5 s to find out that a store does not answer."""


async def run(call: Call) -> int:
    """Print the server's status. Exit status 0 where it is ready, 1 where it is not or does not answer."""
    try:
        status = await asyncio.to_thread(ask, call.settings)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        say(f"No server answers at {_host(call.settings)}, port {call.settings.port}: {why}")
        return 1
    say(status)
    return int(status != "UP")


def ask(settings: Settings) -> str:
    """What the server says of itself: ``UP``, ``DOWN``, ``OUT_OF_SERVICE``.

    Its certificate is not checked: it names the address of the service, and this is the machine itself. A server that
    wants certificates of its callers is only reached, which counts as ``UP``. Raises OSError and HTTPException where
    there is no answer.
    """
    host = _host(settings)
    if not settings.tls:
        connection = http.client.HTTPConnection(host, settings.port, timeout=_PATIENCE)
    elif settings.ssl_client_auth == "need":
        socket.create_connection((host, settings.port), timeout=_PATIENCE).close()
        return "UP"
    else:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, settings.port, timeout=_PATIENCE, context=context)
    try:
        connection.request("GET", f"{settings.context_path}/ready")
        body = json.loads(connection.getresponse().read(4096))
    except ValueError as error:
        raise OSError("what answers there is not this server") from error
    finally:
        connection.close()
    return str(body.get("status", "") if isinstance(body, dict) else "") or "UNKNOWN"


def _host(settings: Settings) -> str:
    """The address to ask: the server's own, or this machine's where it listens on all."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104

"""The command ``score-server``."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from score._version import described
from score.errors import Misconfigured, ScoreError
from score.server.commands import COMMANDS, printed
from score.server.commands import run as run_command
from score.server.logs import write_log
from score.server.reading import Reading, read_settings
from score.server.settings import Settings, written

log = logging.getLogger("score.server")

USAGE = """\
Usage: score-server [COMMAND] [--NAME=VALUE ...]

The server of the Score file transfer protocol. Without any setting it keeps objects on the local disk, in
./score-data, with a registry of its own. With s3.endpoint, bucket.name.object, bucket.name.state and metadata.url it
works on an S3 store and Song.

Settings come from conf/application.properties or application.yml, .env, .env.score, the environment, and from here.

Commands (without one the server runs):
{commands}

Options:
  --server.port=N       Port to listen on (8087)
  --local.directory=D   Folder of the local store (./score-data)
  --insecure            Let the local profile listen on all addresses without authorization
  --settings            List all settings with their defaults
  --version             Show the version and its commit
  --help                Show this text
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGINT or SIGTERM; gives the exit status: 0 after an orderly end, 1 for a failed start."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        return _print(_usage())
    if "--version" in words:
        return _print(f"score-server {described()}")
    if "--settings" in words:
        return _print(_settings_table())
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    gc.set_threshold(20_000, 10, 10)  # with 700 the search for garbage, of which there is little, costs a twentieth
    try:
        if words and words[0] in COMMANDS:
            return run_command(words[0], words[1:])
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server tells what it does with it
        reading = read_settings(words, os.environ, Path.cwd(), commands=COMMANDS)
        write_log(reading.settings)
        for warning in reading.warnings:
            log.warning("%s", warning)
        with listen(reading.settings.host, reading.settings.port) as listener:
            _loop_runner()(_serve(reading, listener))
    except ScoreError as error:
        for line in str(error).splitlines():
            print(f"score-server: {line}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Misconfigured where the address cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except (OSError, ValueError) as error:  # ValueError: no name at all
        raise Misconfigured(
            f"There is no address {host[:60]!r} to listen on: {error}.", hint="Check server.address."
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Misconfigured(
                f"Port {port} on {host} is in use by another program.",
                hint=f"Stop that one, or choose another port: --server.port={port + 1}",
            ) from error
        hint = "Check server.address: it has to be one of this machine."
        if error.errno == errno.EACCES:
            hint = "Low ports are root's: choose one from 1024 on, or give the process CAP_NET_BIND_SERVICE."
        raise Misconfigured(f"Cannot listen on {host}, port {port}: {error.strerror}.", hint=hint) from error
    return listener


async def _serve(reading: Reading, listener: socket.socket) -> None:
    from score.broker.cleanup import keep_clean
    from score.config.cron import parse
    from score.server.app import create_app
    from score.server.build import checks_of, cleanup_of, open_service
    from score.server.edge import configuration
    from score.server.probes import Standing
    from score.server.serving import Server, allow_connections
    from score.server.trail import write_audit_to

    allow_connections()
    settings = reading.settings
    write_audit_to(settings.audit_file)
    tls = None
    if settings.tls:
        from score.server.tls import server_context

        tls = server_context(settings)

    standing = Standing()
    service = await open_service(settings)
    try:
        app = create_app(service, settings, standing)
        config = configuration(app, tls)
        beside = [asyncio.create_task(checks_of(service, settings).log_problems())]
        if settings.clean_enabled:
            schedule = parse(settings.clean_cron)
            told = service.metrics.cleaned if service.metrics else lambda swept: None
            beside.append(asyncio.create_task(keep_clean(cleanup_of(service, settings), schedule, told=told)))
        try:
            server = Server(config, standing, settings.shutdown_delay, lambda: _announce(settings, listener))
            await server.serve(sockets=[listener])
        finally:
            for task in beside:
                task.cancel()
    finally:
        await service.close()


def _announce(settings: Settings, listener: socket.socket) -> None:
    """Say where the service is, once it answers."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    access = (
        f"restricted: callers need tokens (profile secure, {settings.provider})"
        if settings.secure
        else "not restricted: whoever reaches this address may read and write (no profile secure)"
    )
    url = settings.public_url or f"{'https' if settings.tls else 'http'}://{shown}:{port}{settings.context_path}"
    _print(f"Data:   {_place(settings)}\nURL:    {url}\nAccess: {access}")


def _place(settings: Settings) -> str:
    """Where the objects are."""
    from score.server.build import azure_settings, s3_settings

    match settings.store:
        case "local":
            return str(settings.local_directory.absolute())
        case "azure":
            return f"container {settings.bucket_object} at {azure_settings(settings).base}"
        case "s3":
            buckets = f"{settings.bucket_object} and {settings.bucket_state}"
            return f"buckets {buckets} at {s3_settings(settings).address}"


def _usage() -> str:
    rows = [f"  {f'{name} {options}':25}{says}" for name, (options, says) in COMMANDS.items()]
    return USAGE.format(commands="\n".join(rows)).rstrip()


def _settings_table() -> str:
    fields = [field for field in Settings.model_fields.values() if field.alias]
    return "\n".join(f"{field.alias}={written(field.default)}\n    {field.description}" for field in fields)


def _loop_runner() -> Callable[..., None]:
    try:
        import uvloop
    except ImportError:  # not to be had on Windows
        return asyncio.run
    return uvloop.run


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End in order. While requests are served uvicorn handles signals itself, and sends this one when it is done."""
    raise SystemExit(0)


def _print(text: str) -> int:
    """Print a text; the exit status of a command that does no more."""
    return 0 if printed(text) else 1


if __name__ == "__main__":
    sys.exit(main())

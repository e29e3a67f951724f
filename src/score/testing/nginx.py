"""An nginx of one's own for tests: a reverse proxy on a free loopback port, ended by process id."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from score.errors import Misconfigured
from score.testing.components import find
from score.testing.processes import Program, clean_environment, free_port

_UPSTREAM = re.compile(r"^( +)server [\w.]+:\d+( [^;\n]*)?;\n", re.MULTILINE)
_LISTEN = re.compile(r"\blisten [^;\n]+;")
_AROUND = """\
daemon off;
user {user};
worker_processes 2;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format wire escape=json
        '{{"method":"$request_method","path":"$uri","status":$status,"tried":"$upstream_status"}}';
    access_log access.log wire;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{site}}}
"""


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer that a client got. ``tried`` are the statuses of the servers that were asked for it, in order; 502
    stands for one that could not be reached."""

    method: str
    path: str
    status: int
    tried: tuple[int, ...]


class Nginx:
    """A running nginx. ``url`` is where its clients go."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder

    def passed(self) -> list[Passed]:
        """Every answer so far. A line may come a moment after its answer; after the end all are there."""
        text = (self._folder / "access.log").read_text()
        return [
            Passed(one["method"], one["path"], one["status"], tuple(map(int, re.findall(r"\d+", one["tried"]))))
            for one in map(json.loads, text.splitlines())
        ]

    @property
    def errors(self) -> str:
        """What it says went wrong."""
        return (self._folder / "error.log").read_text(errors="replace")


@contextmanager
def running_nginx(folder: Path, configuration: str, upstreams: Sequence[str]) -> Iterator[Nginx]:
    """An :class:`Nginx` within the ``with`` block.

    ``configuration`` is a site's as for ``conf.d``; its port and the servers of its upstream are replaced, the
    latter by ``upstreams`` (``host:port``). Raises Misconfigured where nginx is not installed or has nothing to
    replace, Unavailable with its own words where it does not start.
    """
    program = find("nginx")
    if program is None:
        raise Misconfigured("nginx is not installed.", hint="Run: make components")
    servers = list(_UPSTREAM.finditer(configuration))
    if not servers or not _LISTEN.search(configuration):
        raise Misconfigured("The configuration of nginx has no server in an upstream, or no listen.")
    indent, options = servers[0][1], servers[0][2] or ""
    lines = "".join(f"{indent}server {upstream}{options};\n" for upstream in upstreams)
    port = free_port()
    site = configuration[: servers[0].start()] + lines + configuration[servers[-1].end() :]
    site = _LISTEN.sub(f"listen 127.0.0.1:{port};", site)
    folder.mkdir(parents=True)
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "nginx.conf").write_text(_AROUND.format(user=user, site=site))
    command = [str(program), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    with Program(command, folder, clean_environment(folder)) as process:
        try:
            process.wait_until(lambda: _listens(port))
            yield Nginx(folder, port)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

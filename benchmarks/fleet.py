"""The figures of several servers and of many clients: restarts without a failed call, a start, a thousand clients."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import measure
from figures import MIB, Findings, Goal, figure
from lab import Lab
from service import lay_upload, peak, resident

from score.testing.load import Finalisations
from score.testing.nginx import Nginx, running_nginx

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx" / "score.conf"
SERVERS = 3
RATE = 200
"""Calls a second."""
CROWD = 1000
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@figure("rolling-restart")
def rolling_restart(lab: Lab) -> Findings:
    """Servers behind nginx are replaced one after the other, while clients finalise parts."""
    laid = lay_upload(lab, lab.on_minio, 400)
    rounds = lab.scale.rounds
    with ExitStack() as ends:
        servers = [lab.on_minio.server.another(lab.folder / f"rolling-{number}") for number in range(SERVERS)]
        for server in servers:
            ends.callback(server.stop)
            server.start()
        addresses = [server.url.removeprefix("http://") for server in servers]
        nginx = ends.enter_context(running_nginx(lab.folder / "nginx", CONFIGURATION.read_text(), addresses))
        begun = time.perf_counter()
        with Finalisations(nginx.url, laid, rate=RATE) as calls:
            for server in servers * rounds:
                calls.wait_for_more(RATE)
                if status := server.stop():
                    raise measure.Failed(f"A server ended with status {status}.")
                server.start(checked=False)
                server.wait_until(server.is_ready)
            calls.wait_for_more(RATE)
        seconds = time.perf_counter() - begun
    failed = len(calls.failed)
    print(*calls.failed[:5], *_unusual(nginx)[:5], sep="\n")
    what = f"Failed calls in {rounds * SERVERS} restarts of servers behind nginx, {RATE} part finalisations a second"
    measured = f"{failed} of {calls.answers:,} ({calls.answers / seconds:.0f} a second)"
    return Findings([Goal(what, measured, failed, 0, "0")])


def _unusual(nginx: Nginx) -> list[str]:
    """What nginx complains of, without the refusals of servers that are away."""
    return [line for line in nginx.errors.splitlines() if "[error]" in line and "connect() failed" not in line]


@figure("ready")
def ready(lab: Lab) -> Findings:
    """From the start of the server to ready, and its memory then, on MinIO."""
    server = lab.on_minio.server
    seconds, memory = [], []
    for _ in range(lab.scale.rounds):
        server.stop()
        begun = time.perf_counter()
        server.start(checked=False)
        server.wait_until(server.is_ready)
        seconds.append(time.perf_counter() - begun)
        server.wait_until(lambda: "Checked " in server.output)
        memory.append(resident(server.pid))
    middle, most = median(seconds), max(memory)
    start, idle = "score-server start to ready, MinIO", "Server memory when nothing was asked yet, MinIO"
    goals = [
        Goal(start, f"{middle:.2f} s", middle, 1.5, "1.5 s"),
        Goal(idle, f"{most / MIB:.0f} MiB", most, 100 * MIB, "100 MiB"),
    ]
    return Findings(goals, raw={start: seconds})


@figure("crowd")
def crowd(lab: Lab) -> Findings:
    """Clients at once, each with a connection that it keeps, ask for the plan of a download over and over."""
    site, server = lab.on_minio, lab.on_minio.server
    lab.publish(site, lab.one)
    (identity,) = lab.analysis(site, lab.one).ids
    server.stop()
    server.start()
    each = 4 * lab.scale.rounds
    begun = time.perf_counter()
    failed = asyncio.run(_ask_all(server.url, f"/download/{identity}?offset=0&length=-1", each))
    seconds = time.perf_counter() - begun
    memory = peak(server.pid)
    count = CROWD * each
    what = f"Failed calls of {CROWD:,} clients at once on kept connections"
    goals = [
        Goal(what, f"{failed} of {count:,} ({count / seconds:.0f} a second)", failed, 0, "0"),
        Goal("Server peak memory with them", f"{memory / MIB:.0f} MiB", memory, 250 * MIB, "250 MiB"),
    ]
    return Findings(goals)


async def _ask_all(url: str, target: str, each: int) -> int:
    """Connect everybody, then let everybody ask; how many calls were not answered well."""
    address = urlsplit(url)
    connected = asyncio.Barrier(CROWD)

    async def client() -> int:
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
        except OSError as error:
            raise measure.Failed(f"A client could not connect: {error}") from error
        await connected.wait()
        try:
            for done in range(each):
                writer.write(f"GET {target} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
                try:
                    if not await asyncio.wait_for(_answer(reader), 60):
                        return each - done
                except (OSError, EOFError, TimeoutError):
                    return each - done
        finally:
            writer.close()
        return 0

    return sum(await asyncio.gather(*(client() for _ in range(CROWD))))


async def _answer(reader: asyncio.StreamReader) -> bool:
    """Read an answer; whether it is a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    await reader.readexactly(int(length[1]) if length else 0)
    return head.startswith(b"HTTP/1.1 200 ")

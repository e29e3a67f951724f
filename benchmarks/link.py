"""A slow and distant network: a namespace behind a link of a given delay and rate, made with ``ip`` and no more.

The link is a pair of TUN devices between which a process passes packets, each after the delay, and no faster than
the rate; what does not fit into the queue is dropped, as a router does. Needs root and ``/dev/net/tun``.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001
_MTU = 1500
OUTSIDE, INSIDE = "10.213.7.1", "10.213.7.2"


def missing() -> str:
    """Empty where a link can be made, else what is missing."""
    if os.geteuid() != 0:
        return "only root can make network devices"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    if shutil.which("ip") is None:
        return "ip (iproute2) is not installed"
    return ""


class Link:
    """``delay``: seconds each way; ``rate``: bits per second each way; ``queue``: bytes that may wait."""

    def __init__(self, delay: float, rate: float, queue: int) -> None:
        self._nature = (delay, rate, queue)
        self._name = f"score-bench-{os.getpid()}"
        self._relay: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Make the namespace and the devices."""
        names = [f"sb{side}{os.getpid() % 100_000}" for side in "oi"]
        ends = [_tun(name) for name in names]
        within = ["ip", "netns", "exec", self._name]
        _run("ip", "netns", "add", self._name)
        _run("ip", "link", "set", names[1], "netns", self._name)
        for prefix, name, address in (([], names[0], OUTSIDE), (within, names[1], INSIDE)):
            _run(*prefix, "ip", "addr", "add", f"{address}/24", "dev", name)
            _run(*prefix, "ip", "link", "set", name, "mtu", str(_MTU), "txqueuelen", "1000", "up")
        _run(*within, "ip", "link", "set", "lo", "up")
        # A process of its own: packets wait for nobody who shares an interpreter with them.
        words = [sys.executable, "-I", __file__, *map(str, (*ends, *self._nature))]
        self._relay = subprocess.Popen(words, pass_fds=ends)
        for end in ends:
            os.close(end)

    def close(self) -> None:
        """Remove all of it."""
        if self._relay is not None:
            self._relay.terminate()
            self._relay.wait()
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "del", self._name)

    def inside(self, command: list[str]) -> list[str]:
        """The command, run beyond the link."""
        return ["ip", "netns", "exec", self._name, *command]


def relay(outside: int, inside: int, delay: float, rate: float, queue: float) -> NoReturn:
    """Take packets from one device and give them to the other when their time has come, until the process ends."""
    with suppress(OSError):
        os.nice(-15)  # a router is not kept waiting by the programs of those whose packets it passes
    other = {outside: inside, inside: outside}
    free = {outside: 0.0, inside: 0.0}  # when what was sent before has left
    longest = queue / (rate / 8)
    waiting: list[tuple[float, int, int, bytes]] = []
    poll = select.poll()
    for end in other:
        poll.register(end, select.POLLIN)
    number = 0
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, end, packet = heapq.heappop(waiting)
            with suppress(OSError):
                os.write(end, packet)
        patience = (waiting[0][0] - time.monotonic()) * 1000 if waiting else None
        for end, _ in poll.poll(None if patience is None else max(0.0, patience)):
            for _ in range(64):
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                now = time.monotonic()
                start = max(now, free[end])
                if start - now > longest:
                    continue  # the queue is full
                free[end] = start + len(packet) * 8 / rate
                number += 1
                heapq.heappush(waiting, (free[end] + delay, number, other[end], packet))


class Forwards:
    """Connections to ports of the outer end of the link, passed on to the same ports of this machine."""

    def __init__(self, ports: list[int]) -> None:
        self._listeners = []
        for port in ports:
            with suppress(OSError):  # a service that listens everywhere is reached there already
                self._listeners.append(socket.create_server((OUTSIDE, port)))
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", listener.getsockname()[1]))
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


_RECEIVE = """
import socket, sys, threading
def receive():
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as plain:
        while plain.recv(1 << 20):
            pass
threads = [threading.Thread(target=receive) for _ in range(int(sys.argv[3]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def plain(link: Link, size: int, connections: int) -> float:
    """Seconds in which plain TCP moves ``size`` bytes through the link: what any program could reach."""

    def send(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.sendall(bytes(size // connections))

    with socket.create_server((OUTSIDE, 0)) as server:
        words = [sys.executable, "-c", _RECEIVE, OUTSIDE, str(server.getsockname()[1]), str(connections)]
        begun = time.perf_counter()
        with subprocess.Popen(link.inside(words)):
            for _ in range(connections):
                threading.Thread(target=send, args=(server.accept()[0],), daemon=True).start()
        return time.perf_counter() - begun


@contextmanager
def linked(ports: list[int], *, delay: float, rate: float, queue: int) -> Iterator[Link]:
    """A link beyond which ``ports`` of this machine are reached at :data:`OUTSIDE`."""
    link = Link(delay, rate, queue)
    try:
        link.open()
        forwards = Forwards(ports)
        try:
            yield link
        finally:
            forwards.close()
    finally:
        link.close()


def as_seen_from_inside(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment of a client, with the addresses of its services as they are beyond the link."""
    return {
        name: value.replace("127.0.0.1", OUTSIDE).replace("localhost", OUTSIDE) for name, value in environment.items()
    }


def _tun(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22s", name.encode(), _TUN_WITHOUT_HEADER, b""))
    return end


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    relay(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))

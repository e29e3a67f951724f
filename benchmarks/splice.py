"""A relay for large answers, as a program of its own: requests pass late, answers at once and without being copied.

::

    splice.py DELAY HOST PORT      prints the port that it listens on

``DELAY``, in seconds, is that of the way there and back; bandwidth is not limited.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import threading
import time

PIPE = 1024 * 1024
_SET_SIZE = 1031


def relay(client: socket.socket, target: tuple[str, int], delay: float) -> None:
    """Serve one connection."""
    with client, contextlib.suppress(OSError):
        time.sleep(delay)  # TCP's handshake
        with socket.create_connection(target) as server:
            threading.Thread(target=send, args=(client, server, delay), daemon=True).start()
            answer(server, client)


def send(client: socket.socket, server: socket.socket, delay: float) -> None:
    """Requests: small, and late."""
    with contextlib.suppress(OSError):
        while data := client.recv(65536):
            time.sleep(delay)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)


def answer(server: socket.socket, client: socket.socket) -> None:
    """Answers: large, by the kernel."""
    out, into = os.pipe()
    try:
        fcntl.fcntl(into, _SET_SIZE, PIPE)
        while count := os.splice(server.fileno(), into, PIPE):
            while count:
                count -= os.splice(out, client.fileno(), count)
    finally:
        os.close(out)
        os.close(into)


def main() -> None:
    """Listen until killed."""
    delay, host, port = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=relay, args=(client, (host, int(port)), float(delay)), daemon=True).start()


if __name__ == "__main__":
    main()

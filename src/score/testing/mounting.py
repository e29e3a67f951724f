"""Mounts as real processes on the real FUSE. Tests that use them need the component ``fuse``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from score.testing.clients import ClientProcess


@contextmanager
def mounted(client: ClientProcess, point: Path) -> Iterator[ClientProcess]:
    """A running ``score-client mount`` on ``point``; it is unmounted by SIGTERM, and must end well."""
    try:
        with client:
            client.wait_until(lambda: "Mounted on" in client.stderr)
            yield client
            if client.running:
                client.terminate()
            client.conclude()
            assert not os.path.ismount(point), client.stderr
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False, capture_output=True)

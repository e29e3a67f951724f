"""Programs as real processes: started, watched, killed, always ended."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from score.errors import Misconfigured, Unavailable
from score.testing.components import find
from score.testing.secrecy import secrets_of, watch

ENDS_WITHIN = 120.0
"""Seconds that a program may take to end when it is waited for."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine, whatever proxy the environment names."""
_ATTEMPTS = 5
_SETTINGS = (
    *("accesstoken", "auth", "azure", "bucket", "client", "download", "local", "metadata", "object", "portal", "s3"),
    *("server", "score", "spring", "storage", "transport", "upload", "management", "otel"),
    *("aws_", "xdg_", "http_proxy", "https_proxy", "all_proxy"),
)
"""How variables begin that a program might read as settings."""


def program(name: str) -> str:
    """An installed entry point of this Python's environment."""
    return str(Path(sys.executable).with_name(name))


def clean_environment(home: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without whatever could be a setting, ``home`` as the user's folder, and ``settings`` as
    variables: ``s3.accessKey`` becomes ``S3_ACCESSKEY``."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith(_SETTINGS)}
    secrets_of(settings or {})
    given = {name.replace(".", "_").replace("-", "").upper(): value for name, value in (settings or {}).items()}
    return {**kept, "HOME": str(home), "NO_PROXY": "*", "no_proxy": "*", **given}


def free_port() -> int:
    """A port below those that the kernel gives to clients, so that it is still free after the program was killed."""
    for port in random.sample(range(20_000, 32_768), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable("No free port on 127.0.0.1 between 20000 and 32767.")


def on_small_disk(folder: Path, size: int) -> tuple[str, ...]:
    """What to put before a command for it to find ``folder`` as an empty disk of ``size`` bytes, and to start there.

    The disk is the command's own and goes with it; from outside it is ``/proc/<pid>/root<folder>``. It needs the
    component ``mounts``.
    """
    return _in_own_mounts(f'mount -t tmpfs -o size={size} tmpfs "$1"', folder)


def on_read_only_folder(folder: Path) -> tuple[str, ...]:
    """What to put before a command for it to find ``folder`` read-only, whoever runs it. It needs ``mounts``."""
    return _in_own_mounts('mount -o bind,ro "$1" "$1"', folder)


class NameService:
    """A name service of the commands that start with ``prefix``: it knows ``names``, all of them as this machine.
    When it goes away, nobody answers who is asked for a name. It needs the component ``mounts``."""

    def __init__(self, folder: Path, *names: str) -> None:
        """``folder``, a new one, is for its files."""
        folder.mkdir(parents=True)
        self._hosts = folder / "hosts"
        self._names = names
        (folder / "nsswitch.conf").write_text("hosts: files dns\n")
        (folder / "resolv.conf").write_text("nameserver 127.53.53.53\noptions timeout:1 attempts:1\n")
        self.prefix = _in_own_mounts(
            'for file in hosts nsswitch.conf resolv.conf; do mount -o bind "$1/$file" "/etc/$file" || exit; done',
            folder,
        )
        self.come()

    def come(self) -> None:
        """Answer from now on."""
        self._hosts.write_text(f"127.0.0.1 {' '.join(self._names)}\n")

    def go(self) -> None:
        """Answer no longer."""
        self._hosts.write_text("")  # the same file: it is mounted


def _in_own_mounts(mount: str, folder: Path) -> tuple[str, ...]:
    """``mount`` is for a shell that has the folder as ``$1``."""
    script = f'{mount} && cd "$1" && shift && exec "$@"'
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(folder))


class Program:
    """A running program. Its output goes to files in ``folder``, so that no pipe can fill; a context manager that
    kills it where it still runs."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.stdout"))) + 1
        self._stdout = folder / f"{number:02}.stdout"
        self._stderr = folder / f"{number:02}.stderr"
        self._name = Path(command[0]).name
        with open(self._stdout, "wb") as stdout, open(self._stderr, "wb") as stderr:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        watch(self._stdout, lambda: not self.running, answer=True)
        watch(self._stderr, lambda: not self.running)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def stdout(self) -> str:
        """What it wrote to standard output so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote to standard error so far."""
        return self._stderr.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, and wait for the end; nothing happens where it has ended."""
        self._process.kill()
        self._process.wait()

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def terminate(self, timeout: float = 20) -> int:
        """SIGTERM, and the exit status; SIGKILL where it does not end in ``timeout`` seconds."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        self.kill()
        return self._process.returncode

    def wait(self, timeout: float = ENDS_WITHIN) -> int:
        """The exit status, when it has ended by itself. TimeoutError, with its output, where it does not."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self._name} did not end in {timeout:.0f} s\n{self.stdout}\n{self.stderr}") from None

    def wait_until(self, ready: Callable[[], bool], timeout: float = 30) -> None:
        """Return when ``ready``. Unavailable, with its output, where it ends first or takes longer."""
        until = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise Unavailable(f"{self._name} ended with {self._process.returncode}\n{self.stdout}\n{self.stderr}")
            if time.monotonic() > until:
                raise Unavailable(f"{self._name} is not ready in {timeout:.0f} s\n{self.stdout}\n{self.stderr}")
            time.sleep(0.02)


class Daemon:
    """A server program of one's own, over a folder of its own. Its port stays the same through ``kill`` and
    ``restart``."""

    NAME = ""
    READY_WITHIN = 30.0
    """Seconds that its start may take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = 0
        self._log = folder / f"{self.NAME.lower()}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        if self._process is None:
            raise Unavailable(f"{self.NAME} is not running.", hint="Call restart().")
        return self._process.pid

    def start(self) -> None:
        """Start on a free port and wait until it answers.

        Another process may take the port between the search and the start: then the next one is tried. Raises
        Unavailable, with the end of its output, where it does not come up.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = free_port()
            try:
                return self._launch()
            except Unavailable:
                if attempt == _ATTEMPTS:
                    raise
        return None

    def restart(self) -> None:
        """Start again after ``stop`` or ``kill``: same port, same keys, same data."""
        self.stop()
        self._launch()

    def stop(self) -> None:
        """End it in order and wait for that; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def _command(self, data: Path) -> list[str]:
        """The program and its arguments; ``data`` is the folder of what it keeps."""
        raise NotImplementedError

    def _settings(self) -> dict[str, str]:
        """Its settings, as variables."""
        raise NotImplementedError

    def _is_ready(self) -> bool:
        """Whether requests are served."""
        raise NotImplementedError

    def _launch(self) -> None:
        prefix = f"{self.NAME.upper()}_"
        others = {name: value for name, value in os.environ.items() if not name.startswith(prefix)}
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command(data),
                cwd=self.folder,
                env=others | self._settings(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + self.READY_WITHIN
        while time.monotonic() < until:
            if process.poll() is not None:
                raise Unavailable(f"{self.NAME} ended at once with status {process.returncode}: {self._last_words()}")
            if self._is_ready():
                return
            time.sleep(0.05)
        raise Unavailable(f"{self.NAME} does not answer after {self.READY_WITHIN:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-1000:].strip()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Startable(Protocol):
    def start(self) -> None: ...

    def kill(self) -> None: ...


R = TypeVar("R", bound=_Startable)


@contextmanager
def running(name: str, make: Callable[[Path, Path], R]) -> Iterator[R]:
    """What ``make`` makes of the program of a component and a new folder, running within the ``with`` block. ``name``
    is how people write the component's. Raises Misconfigured where it is not installed."""
    program = find(name.lower())
    if program is None:
        raise Misconfigured(f"{name} is not installed.", hint="Run: make components")
    folder = Path(tempfile.mkdtemp(prefix=f"score-{name.lower()}-"))
    made = make(program.absolute(), folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)

"""A Ceph of one's own for tests: a monitor, a storage daemon in memory and an object gateway, on loopback.

It starts in seconds, as any user, over a temporary folder, and is ended by process id. All that it holds lies in the
memory of the storage daemon: the gateway may be killed and restarted, the others are there once.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import struct
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from score.errors import Unavailable
from score.testing.components import which
from score.testing.processes import DIRECT, free_port, running
from score.testing.secrecy import secret

READY_WITHIN = 60.0
"""Seconds that a step of the start may take."""
_ATTEMPTS = 3
_USER = "tests"
_STORAGE = 4 * 1024**3
"""Bytes that the storage daemon says it has room for; they are taken as they are used."""

# One copy of everything, few placement groups, no manager; the monitor agrees with itself at once, else every pool
# that the gateway makes would wait for a second.
_CONFIGURATION = """\
[global]
fsid = {cluster}
mon host = v2:127.0.0.1:{monitor_port}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
run dir = {folder}
crash dir = {folder}
log file = {folder}/$name.log
admin socket =
setuser match path =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 2
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = {storage}
osd class default list = *
osd class load list = *
paxos propose interval = 0.05
paxos min wait = 0.01
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw enable usage log = false
rgw enable apis = s3, admin
rgw thread pool size = 64
rgw gc obj min wait = 0
rgw dynamic resharding = false
rgw override bucket index max shards = 1
rgw run sync thread = false
{gateway}
"""
_RIGHTS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
    "client.rgw.a": {"mon": "allow rwx", "osd": "allow rwx", "mgr": "allow rw"},
}


class Ceph:
    """A cluster of one, and its gateway. ``endpoint`` and the keys stay the same while the gateway comes and goes.

    ``gateway`` are more settings of the gateway, by their names in Ceph's documentation.
    """

    def __init__(self, folder: Path, gateway: Mapping[str, str]) -> None:
        self.access_key = "ceph-" + secrets.token_hex(4)
        self.secret_key = secret(secrets.token_hex(16))
        self.folder = folder
        self._gateway = dict(gateway)
        self._port = 0
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def endpoint(self) -> str:
        """``http://host:port`` of the gateway."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads Ceph's own commands to this cluster, as its administrator."""
        return {"CEPH_CONF": str(self.folder / "ceph.conf"), "CEPH_ARGS": ""}

    def start(self) -> None:
        """Start all three and wait until the gateway answers.

        Another process may take a port between the search and the start: then the next ones are tried. Raises
        Unavailable, with the last words of the daemon, where it does not come up.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._launch_all()
            except Unavailable:
                self.kill()
                if attempt == _ATTEMPTS:
                    raise
                shutil.rmtree(self.folder / "mon", ignore_errors=True)
                shutil.rmtree(self.folder / "osd", ignore_errors=True)
        return None

    def kill(self) -> None:
        """End everything at once: nothing that it holds is to last."""
        for daemon in self._daemons.values():
            daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()

    def kill_gateway(self) -> None:
        """End the gateway with SIGKILL, as a crash would; what is stored stays."""
        gateway = self._daemons.pop("radosgw")
        gateway.kill()
        gateway.wait()

    def restart_gateway(self) -> None:
        """Start the gateway again, on the same port."""
        self._launch("radosgw", "-n", "client.rgw.a")
        self._wait_for_gateway()

    @contextmanager
    def storage_hangs(self) -> Iterator[None]:
        """Within the block the storage daemon does nothing at all (SIGSTOP), as with a disk that hangs."""
        storage = self._daemons["ceph-osd"]
        storage.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            storage.send_signal(signal.SIGCONT)

    @contextmanager
    def quota(self, size: int) -> Iterator[None]:
        """Within the block the account may hold ``size`` bytes in all; the gateway counts in units of 4 KiB.

        After ``kill_gateway`` it takes half a minute, in which the dead gateway is waited for.
        """
        scope = ("--quota-scope=user", f"--uid={_USER}")
        self._admin("quota", "set", *scope, f"--max-size={size}B")
        self._admin("quota", "enable", *scope)
        try:
            yield
        finally:
            self._admin("quota", "disable", *scope)

    def _launch_all(self) -> None:
        keys = self._write_configuration()
        disk, mon = str(uuid.uuid4()), ("-i", "a")
        self._run("monmaptool", "--create", "--clobber", "--fsid", self._cluster,
                  "--addv", "a", f"[v2:127.0.0.1:{self._monitor_port}]", str(self.folder / "monmap"))  # fmt: skip
        self._run("ceph-mon", "--mkfs", *mon, "--monmap", str(self.folder / "monmap"))
        self._launch("ceph-mon", *mon)
        secret = self.folder / "osd.json"
        secret.write_text(json.dumps({"cephx_secret": keys["osd.0"]}))
        self._run("ceph", "--connect-timeout", "20", "osd", "new", disk, "0", "-i", str(secret))
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._launch("ceph-osd", "-i", "0")
        # The gateway waits for the storage daemon by itself.
        self.restart_gateway()
        self._admin(
            "user", "create", f"--uid={_USER}", "--display-name=Tests",
            f"--access-key={self.access_key}", f"--secret-key={self.secret_key}",
        )  # fmt: skip

    def _write_configuration(self) -> dict[str, str]:
        """Configuration and keyring of a new cluster on free ports; gives the secret of each member."""
        self._port, self._monitor_port, self._cluster = free_port(), free_port(), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "ceph.conf").write_text(
            _CONFIGURATION.format(
                cluster=self._cluster,
                folder=self.folder,
                monitor_port=self._monitor_port,
                port=self._port,
                storage=_STORAGE,
                gateway="\n".join(f"{name} = {value}" for name, value in self._gateway.items()),
            )
        )
        keys = {member: _secret() for member in _RIGHTS}
        lines = []
        for member, rights in _RIGHTS.items():
            lines += [f"[{member}]", f"key = {keys[member]}"]
            lines += [f'caps {service} = "{allowed}"' for service, allowed in rights.items()]
        (self.folder / "keyring").write_text("\n".join(lines) + "\n")
        return keys

    def _launch(self, program: str, *arguments: str) -> None:
        """Start a daemon in the foreground of its own process."""
        with open(self.folder / f"{program}.out", "ab") as out:
            self._daemons[program] = subprocess.Popen(
                [_path(program), *arguments, "-f"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def _run(self, program: str, *arguments: str) -> None:
        """A command to its end. Unavailable, with its output, where it fails."""
        try:
            done = subprocess.run(
                [_path(program), *arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=READY_WITHIN,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{program} did not end: {self._last_words()}") from None
        if done.returncode:
            raise Unavailable(f"{program} ended with status {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")

    def _admin(self, *arguments: str) -> None:
        self._run("radosgw-admin", "-n", "client.admin", *arguments)

    def _wait_for_gateway(self) -> None:
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until:
            for program, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    raise Unavailable(f"{program} ended with status {daemon.returncode}: {self._last_words()}")
            try:
                with DIRECT.open(self.endpoint, timeout=2):
                    return
            except urllib.error.HTTPError as error:
                error.close()
            except OSError:
                pass
            time.sleep(0.05)
        raise Unavailable(f"Ceph's gateway does not answer after {READY_WITHIN:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        """The end of what the daemons said."""
        said = [
            f"{file.name}: {file.read_text(errors='replace')[-500:].strip()}"
            for file in sorted(self.folder.glob("*.out"))
        ]
        return "\n".join(said)


def running_ceph(gateway: Mapping[str, str] | None = None) -> AbstractContextManager[Ceph]:
    """A Ceph that runs within the ``with`` block. Raises Misconfigured where its programs are not installed."""
    return running("Ceph", lambda program, folder: Ceph(folder, gateway or {}))


def _path(program: str) -> str:
    return str(which(program) or program)


def _secret() -> str:
    """A key as Ceph's keyrings hold them: type, time, length and 16 random bytes."""
    return base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()

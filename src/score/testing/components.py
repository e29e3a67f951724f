"""Real components that tests run against: where they are, how each is recognised, how to get one.

They are kept in a cache outside the checkout, ``$SCORE_COMPONENTS`` (default ``~/.cache/score-components``), whose
``bin`` is looked at before ``PATH``. ``make components`` fills it; Ceph it installs as packages of the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from score.errors import Misconfigured

CEPH_PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")


@dataclass(frozen=True, slots=True)
class Component:
    """A real program or facility.

    ``programs`` are the names it goes by, any of which will do; ``recognise`` replaces the search for a program
    where it is none.
    """

    name: str
    what: str
    programs: tuple[str, ...] = ()
    recognise: Callable[[], Path | None] | None = None

    def find(self) -> Path | None:
        """Where it is, None where it is absent."""
        if self.recognise is not None:
            return self.recognise()
        return next((path for program in self.programs if (path := which(program)) is not None), None)


def cache() -> Path:
    """The folder of the installed components, whether it is there or not."""
    return Path(os.environ.get("SCORE_COMPONENTS") or Path.home() / ".cache" / "score-components")


def which(program: str) -> Path | None:
    """A program of the cache, else of ``PATH``; None where neither has it."""
    found = shutil.which(program, path=str(cache() / "bin")) or shutil.which(program)
    return Path(found) if found else None


def _ceph() -> Path | None:
    """Ceph is usable where its daemons and the commands that set them up are all there. The path is the gateway's."""
    return which("radosgw") if all(which(program) for program in CEPH_PROGRAMS) else None


def _fuse() -> Path | None:
    """FUSE is usable where its device can be opened by this user, and its library and unmount program are there."""
    usable = os.access("/dev/fuse", os.R_OK | os.W_OK) and find_library("fuse3")
    return which("fusermount3") if usable else None


def _keycloak() -> Path | None:
    """Keycloak is usable where it was installed into the cache, which makes it ready to start, and Java is there."""
    return which("kc.sh") if which("java") else None


def _faketime() -> Path | None:
    """The library is where Debian and its kin put it."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def _nginx() -> Path | None:
    """nginx lies where programs of root are, which not every user has on ``PATH``."""
    found = which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _nextflow() -> Path | None:
    """Nextflow is usable where Java is there to run it."""
    return which("nextflow") if which("java") else None


def _mounts() -> Path | None:
    """Private mounts are usable where this user may make one."""
    unshare = which("unshare")
    if unshare is None:
        return None
    command = [str(unshare), "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return None if subprocess.run(command, check=False, capture_output=True).returncode else unshare


def _debootstrap() -> Path | None:
    """Systems in folders are usable where root may make them."""
    return which("debootstrap") if os.geteuid() == 0 and which("unshare") else None


COMPONENTS = {
    component.name: component
    for component in (
        Component("minio", "MinIO, an object store with the S3 interface", ("minio",)),
        Component("ceph", "Ceph's object gateway, an object store with the S3 interface", recognise=_ceph),
        Component("azurite", "Azurite, an emulator of Azure's blob store", ("azurite-blob",)),
        Component("keycloak", "Keycloak, an authorization server, and Java to run it", recognise=_keycloak),
        Component("nginx", "nginx, a reverse proxy", recognise=_nginx),
        Component("faketime", "libfaketime, which gives a program a clock of its own", recognise=_faketime),
        Component("fuse", "FUSE, file systems in user space", recognise=_fuse),
        Component(
            "mounts",
            "private mounts (unshare), for disks that fill up and names that are forgotten",
            recognise=_mounts,
        ),
        Component("chromium", "Chromium, a browser", ("chromium", "chromium-browser", "google-chrome")),
        Component("samtools", "samtools, for sequencing reads", ("samtools",)),
        Component("bcftools", "bcftools, for variants", ("bcftools",)),
        Component("promtool", "promtool, of Prometheus, which checks its configuration and alerts", ("promtool",)),
        Component("kustomize", "kustomize, which puts Kubernetes manifests together", ("kustomize",)),
        Component(
            "kubernetes-validate", "kubernetes-validate, with the schemas of Kubernetes", ("kubernetes-validate",)
        ),
        Component("debootstrap", "debootstrap, which makes a Debian in a folder, and root", recognise=_debootstrap),
        Component("systemd-analyze", "systemd-analyze, which checks units", ("systemd-analyze",)),
        Component("zsh", "zsh, a shell that completes words", ("zsh",)),
        Component("fish", "fish, another", ("fish",)),
        Component("hadolint", "hadolint, which reads Dockerfiles", ("hadolint",)),
        Component("compose-spec", "compose-spec, which reads compose files as Docker does", ("compose-spec",)),
        Component("htsget", "htsget, the client of that protocol on PyPI", ("htsget",)),
        Component("aws", "the AWS command line, for the pages on stores and as a rival in the benchmarks", ("aws",)),
        Component("az", "the Azure command line, for the page on that store", ("az",)),
        Component("snakemake", "Snakemake, a workflow engine", ("snakemake",)),
        Component("nextflow", "Nextflow, a workflow engine, and Java to run it", recognise=_nextflow),
        Component("dask", "Dask, with pandas, pyarrow and xarray, which read by fsspec", ("dask",)),
        Component("s5cmd", "s5cmd, a rival in the benchmarks", ("s5cmd",)),
        Component("rclone", "rclone, another, which mounts buckets", ("rclone",)),
    )
}


def find(name: str) -> Path | None:
    """Where the component is, None where it is absent. KeyError for a name that is not in the table."""
    return COMPONENTS[name].find()


def required(names: str | None = None) -> frozenset[str]:
    """The components whose absence is a failure: ``names`` (default ``$SCORE_REQUIRE``) is ``all`` or a comma list.

    ``all`` means every one of the table. Raises Misconfigured where a name is not in it.
    """
    text = os.environ.get("SCORE_REQUIRE", "") if names is None else names
    listed = {name.strip() for name in text.split(",") if name.strip()}
    if "all" in listed:
        listed.discard("all")
        listed |= COMPONENTS.keys()
    if unknown := listed - COMPONENTS.keys():
        known = ", ".join(COMPONENTS)
        raise Misconfigured(
            f"SCORE_REQUIRE names unknown components: {', '.join(sorted(unknown))}.", hint=f"Known: {known}"
        )
    return frozenset(listed)

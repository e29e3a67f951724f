"""Images without an engine: each step of a Dockerfile is done in a folder that holds a system, by ``chroot``.

What an engine would do is done as far as it counts for the steps: stages, ``COPY`` from the context (by its
``.dockerignore``) and from stages, variables, users, folders. It needs the components ``debootstrap`` and root.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from score.errors import Misconfigured

_MOUNTS = "mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev"
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_NETWORK = {"/etc/resolv.conf": "", "/etc/hosts": "", "/etc/pip.conf": "", _AUTHORITIES: "/run/lent-authorities.crt"}
"""Files of this machine, and where a step finds them: it reaches the network as this machine does."""


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction: its name in capitals, its flags (``--from=build``), and what follows them."""

    name: str
    flags: Mapping[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """What follows, as words; of the JSON form its items."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


@dataclass(frozen=True, slots=True)
class Image:
    """A system in the folder ``root``, and what is set for programs that run in it."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "0:0"
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()

    def start(
        self, *command: str, environment: Mapping[str, str] | None = None, user: str = "", volumes: Sequence[str] = ()
    ) -> tuple[list[str], dict[str, str]]:
        """What to run, and in which environment, for a program in this image; without a ``command`` the image's own.

        Its root file system is read-only, but for ``/tmp`` and what ``volumes`` names (``/folder/here:/there``).
        """
        words = [*self.entrypoint, *(command or self.command)]
        return self.execute(*words, environment=environment, user=user, volumes=volumes)

    def execute(
        self, *command: str, environment: Mapping[str, str] | None = None, user: str = "", volumes: Sequence[str] = ()
    ) -> tuple[list[str], dict[str, str]]:
        """As ``start``, without the image's entry point, as health checks run."""
        root = shlex.quote(str(self.root))
        mounts = [f"mount --bind {root} {root}", _MOUNTS.format(root=root), f"mount -t tmpfs tmpfs {root}/tmp"]
        for volume in volumes:
            here, _, there = volume.partition(":")
            mounts.append(f"mount --bind {shlex.quote(here)} {root}{there}")
        mounts.append(f"mount -o remount,bind,ro {root}")
        return (
            _chrooted(mounts, self.root, user or self.user, self.folder, command),
            {**self.environment, **(environment or {})},
        )


def steps(text: str) -> Iterator[Step]:
    """The instructions of a Dockerfile, comments taken off, lines that go on put together."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        flags = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        yield Step(name.upper(), flags, rest.strip())


def build(file: Path, context: Path, base: Path, into: Path, target: str, arguments: Mapping[str, str]) -> Image:
    """The image of a stage. ``base`` is the system that every ``FROM`` of a name that is no stage means.

    Only the stages that the target needs are built, each in a folder of ``into``; those that are there are taken as
    they are. Raises CalledProcessError, its output shown, where a step fails, and Misconfigured for an instruction
    that is not known here.
    """
    stages = _stages(file)
    if target not in stages:
        raise Misconfigured(f"{file} has no stage {target}.")
    made: dict[str, Image] = {}

    def make(name: str) -> Image:
        if name in made:
            return made[name]
        origin, instructions = stages[name]
        image = make(origin) if origin in stages else Image(base)
        image = replace(image, root=into / name)
        fresh = not image.root.exists()
        if fresh:
            parent = base if origin not in stages else into / origin
            subprocess.run(["cp", "-a", "--reflink=auto", str(parent), str(image.root)], check=True)
        values = dict(arguments)
        for step in instructions:
            if step.name == "COPY" and fresh:
                source = make(step.flags["from"]).root if "from" in step.flags else context
                _copy(step, source, image, context if "from" not in step.flags else None)
            elif step.name == "RUN" and fresh:
                _run(step, image, values)
            elif step.name == "ARG":
                key, _, default = step.text.partition("=")
                values.setdefault(key, default)
            else:
                image = _set(step, image)
        made[name] = image
        return image

    return make(target)


def _stages(file: Path) -> dict[str, tuple[str, list[Step]]]:
    found: dict[str, tuple[str, list[Step]]] = {}
    for step in steps(file.read_text("utf-8")):
        if step.name == "FROM":
            origin, _, name = step.words
            found[name] = (origin, [])
        else:
            found[list(found)[-1]][1].append(step)
    return found


def _set(step: Step, image: Image) -> Image:
    """The image with what an instruction sets."""
    match step.name:
        case "ENV":
            return replace(image, environment={**image.environment, **dict(w.split("=", 1) for w in step.words)})
        case "USER":
            return replace(image, user=step.text)
        case "WORKDIR":
            (image.root / step.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
            return replace(image, folder=step.text)
        case "ENTRYPOINT":
            return replace(image, entrypoint=tuple(step.words))
        case "CMD":
            return replace(image, command=tuple(step.words))
        case "HEALTHCHECK":
            return replace(image, health=tuple(json.loads(step.text.removeprefix("CMD "))))
        case "EXPOSE" | "STOPSIGNAL" | "COPY" | "RUN":
            return image
        case _:
            raise Misconfigured(f"{step.name} is not known here.")


def _run(step: Step, image: Image, values: Mapping[str, str]) -> None:
    """A step within the image, with this machine's way to the network."""
    root = shlex.quote(str(image.root))
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if os.path.exists(_AUTHORITIES):
        kept["PIP_CERT"] = _NETWORK[_AUTHORITIES]
    environment = {"PATH": os.defpath + ":/usr/sbin:/sbin", **kept, **image.environment, **values}
    mounts = [_MOUNTS.format(root=root)]
    for path in filter(os.path.exists, _NETWORK):
        lent = f"{root}{_NETWORK[path] or path}"
        mounts += [f"touch {lent}", f"mount --bind {path} {lent}"]
    command = _chrooted(mounts, image.root, image.user, image.folder, ("/bin/sh", "-ec", step.text))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"RUN {step.text}\n{done.stdout.decode(errors='replace')}")


def _chrooted(mounts: Sequence[str], root: Path, user: str, folder: str, command: Sequence[str]) -> list[str]:
    """A command in mounts of its own, which go with it, as the first process that sees the root."""
    script = " && ".join([*mounts, f"exec chroot --userspec={user} {shlex.quote(str(root))} /bin/sh -c"])
    inner = f'cd {shlex.quote(folder)} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", f'{script} {shlex.quote(inner)} sh "$@"', "sh", *command]


def _copy(step: Step, source: Path, image: Image, context: Path | None) -> None:
    """``COPY``: from the context what its ``.dockerignore`` lets through, from a stage anything."""
    *names, where = step.words
    target = image.root / (where.lstrip("/") if where.startswith("/") else f"{image.folder.lstrip('/')}/{where}")
    for name in names:
        origin = source / name.lstrip("/")
        if context is not None and not let_through(context, name):
            raise Misconfigured(f"COPY {name}: .dockerignore keeps it from the build.")
        whole = origin.is_dir()
        place = target if whole or not where.endswith("/") else target / origin.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if whole:
            left_out = shutil.ignore_patterns(*(["__pycache__", "_build.py"] if context else []))
            shutil.copytree(origin, place, symlinks=True, dirs_exist_ok=True, ignore=left_out)
        else:
            shutil.copy2(origin, place)
        if mode := step.flags.get("chmod"):
            place.chmod(int(mode, 8))


def let_through(context: Path, name: str) -> bool:
    """Whether a ``.dockerignore`` that lists what is wanted (``*``, then ``!name``) lets a path through."""
    lines = (context / ".dockerignore").read_text("utf-8").splitlines()
    wanted = [line[1:] for line in lines if line.startswith("!")]
    return any(Path(name).match(pattern) or Path(name).is_relative_to(pattern) for pattern in wanted)

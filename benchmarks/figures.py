"""The figures, each one function of a :class:`Lab`. To add a row, add a function with ``@figure``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from statistics import median

import measure
import urllib3
from lab import Lab, Payload
from measure import Series, Usage, ratio
from sites import Site

from score.protocol.parts import MOST_PARTS
from score.testing.processes import program

MIB = 1024 * 1024
MEMORY = 256 * MIB
PART = 20_000_000
"""Bytes; the server's default part size."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach: ``value`` may be ``limit`` at most. ``measured`` and ``bound`` are the same for readers."""

    what: str
    measured: str
    value: float
    limit: float
    bound: str

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Table:
    """A comparison: what each contender took, and its ratio to ``base`` round by round."""

    title: str
    series: dict[str, Series]
    base: str
    size: int | None = None
    """Bytes moved, where the rate means something."""


@dataclass(slots=True)
class Findings:
    """What a figure found out."""

    goals: list[Goal] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    raw: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of single measurements that are in no table."""
    failed: str = ""
    """Why there is nothing to tell."""


FIGURES: dict[str, Callable[[Lab], Findings]] = {}


def figure(name: str) -> Callable[[Callable[[Lab], Findings]], Callable[[Lab], Findings]]:
    """Register a figure under the name by which ``--only`` knows it. They run in the order of their definition."""

    def register(function: Callable[[Lab], Findings]) -> Callable[[Lab], Findings]:
        FIGURES[name] = function
        return function

    return register


def ours(site: Site) -> str:
    """The name of our contender on a site."""
    return f"score-client, {site.name}"


def times(value: float, unit: str) -> str:
    """A ratio for readers."""
    return f"{value:.2f} × {unit}"


def client_goals(lab: Lab, what: str, found: dict[str, Series], md5sum: str) -> list[Goal]:
    """Processor time and memory of the client, for each store."""
    goals = []
    for site in lab.sites:
        mine = found[ours(site)]
        cpu = ratio(mine.cpus, found[md5sum].cpus)
        goals.append(Goal(f"{what}, {site.name}: client CPU", times(cpu, "md5sum"), cpu, 3, "3 × md5sum"))
        peak = f"{mine.peak / MIB:.0f} MiB"
        goals.append(Goal(f"{what}, {site.name}: client peak memory", peak, mine.peak, MEMORY, "256 MiB"))
    return goals


@figure("upload-one")
def upload_one(lab: Lab) -> Findings:
    """One large file up, its whole MD5 checked."""
    payload = lab.one
    (path,) = payload.files
    to = f"{lab.bucket}/one/{path.name}"
    contenders: dict[str, Callable[[], Usage]] = {
        ours(lab.on_minio): lambda: lab.upload(lab.on_minio, payload),
        "aws s3 cp": lambda: lab.shell(f"{lab.aws} cp --quiet {path} {to}"),
        "s5cmd cp": lambda: lab.shell(f"{lab.s5cmd} cp {path} {to}"),
        "md5sum": lambda: lab.rival(lab.rivals.md5sum, str(path)),
        ours(lab.on_disk): lambda: lab.upload(lab.on_disk, payload),
    }
    found = measure.contest(contenders, lab.scale.rounds)
    wall = ratio(found[ours(lab.on_minio)].walls, found["aws s3 cp"].walls)
    what = f"Upload of {payload.name}"
    goal = Goal(f"{what}, MinIO: time", times(wall, "aws s3 cp"), wall, 1.0, "1.0 × aws s3 cp")
    table = Table(what, found, "aws s3 cp", payload.size)
    return Findings([goal, *client_goals(lab, what, found, "md5sum")], [table])


@figure("upload-many")
def upload_many(lab: Lab) -> Findings:
    """Many small files up."""
    payload = lab.many
    rounds = count()

    def to() -> str:
        return f"{lab.bucket}/many-{next(rounds)}/"  # what is there already is not sent again

    contenders: dict[str, Callable[[], Usage]] = {
        ours(lab.on_minio): lambda: lab.upload(lab.on_minio, payload),
        "aws s3 sync": lambda: lab.shell(f"{lab.aws} sync --quiet {payload.folder} {to()}"),
        "s5cmd cp": lambda: lab.shell(f"{lab.s5cmd} cp '{payload.folder}/*' {to()}"),
        "md5sum": lambda: lab.rival(lab.rivals.md5sum, *map(str, payload.files)),
        ours(lab.on_disk): lambda: lab.upload(lab.on_disk, payload),
    }
    found = measure.contest(contenders, lab.scale.rounds)
    what = f"Upload of {payload.name}"
    wall = ratio(found[ours(lab.on_minio)].walls, found["aws s3 sync"].walls)
    goal = Goal(f"{what}, MinIO: time", times(wall, "aws s3 sync"), wall, 2.0, "2 × aws s3 sync")
    return Findings([goal], [Table(what, found, "aws s3 sync", payload.size)])


def stage(lab: Lab, payload: Payload, folder: str) -> None:
    """Put a payload where the downloads of ours and of the rivals find it."""
    for site in lab.sites:
        lab.publish(site, payload)
    lab.shell(f"{lab.s5cmd} cp '{payload.folder}/*' {lab.bucket}/{folder}/")


@figure("download-one")
def download_one(lab: Lab) -> Findings:
    """One large file down, verified."""
    payload = lab.one
    (path,) = payload.files
    stage(lab, payload, "one")
    source = f"{lab.bucket}/one/{path.name}"
    sum_up = f"{lab.rivals.md5sum}"

    def then_md5sum(fetch: str) -> Usage:
        out = lab.fresh() / path.name
        return lab.shell(f"{fetch} {source} {out} && {sum_up} {out}")

    contenders: dict[str, Callable[[], Usage]] = {
        ours(lab.on_minio): lambda: lab.download(lab.on_minio, payload),
        "s5cmd cp, md5sum": lambda: then_md5sum(f"{lab.s5cmd} cp"),
        "aws s3 cp, md5sum": lambda: then_md5sum(f"{lab.aws} cp --quiet"),
        "md5sum": lambda: lab.rival(lab.rivals.md5sum, str(path)),
        ours(lab.on_disk): lambda: lab.download(lab.on_disk, payload),
    }
    found = measure.contest(contenders, lab.scale.rounds)
    base = "s5cmd cp, md5sum"
    wall = ratio(found[ours(lab.on_minio)].walls, found[base].walls)
    what = f"Download of {payload.name}"
    bound = "0.8 × (s5cmd cp, then md5sum)"
    goal = Goal(f"{what}, MinIO: time", times(wall, "(s5cmd cp, md5sum)"), wall, 0.8, bound)
    return Findings([goal, *client_goals(lab, what, found, "md5sum")], [Table(what, found, base, payload.size)])


@figure("download-many")
def download_many(lab: Lab) -> Findings:
    """Many small files down, verified."""
    payload = lab.many
    stage(lab, payload, "many")

    def then_md5sum(fetch: str, wildcard: str = "") -> Usage:
        out = lab.fresh()
        return lab.shell(f"{fetch} {lab.bucket}/many/{wildcard} {out}/ && {lab.rivals.md5sum} {out}/*")

    contenders: dict[str, Callable[[], Usage]] = {
        ours(lab.on_minio): lambda: lab.download(lab.on_minio, payload),
        "aws s3 sync": lambda: lab.shell(f"{lab.aws} sync --quiet {lab.bucket}/many/ {lab.fresh()}/"),
        "s5cmd sync, md5sum": lambda: then_md5sum(f"{lab.s5cmd} sync", "'*'"),
        "aws s3 sync, md5sum": lambda: then_md5sum(f"{lab.aws} sync --quiet"),
        "md5sum": lambda: lab.rival(lab.rivals.md5sum, *map(str, payload.files)),
        ours(lab.on_disk): lambda: lab.download(lab.on_disk, payload),
    }
    found = measure.contest(contenders, lab.scale.rounds)
    what = f"Download of {payload.name}"
    wall = ratio(found[ours(lab.on_minio)].walls, found["aws s3 sync"].walls)
    goal = Goal(f"{what}, verified, MinIO: time", times(wall, "aws s3 sync"), wall, 1.2, "1.2 × aws s3 sync")
    return Findings([goal], [Table(what, found, "aws s3 sync", payload.size)])


@figure("many-parts")
def many_parts(lab: Lab) -> Findings:
    """The answer to the start of an upload of 10,000 parts, on MinIO."""
    server = lab.on_minio.server.url
    identity = lab.on_minio.announce("many-parts.bam")
    seconds = []
    with urllib3.PoolManager(retries=False) as pool:
        for _ in range(5 * lab.scale.rounds + 1):
            begun = time.perf_counter()
            answer = pool.request("POST", f"{server}/upload/{identity}/uploads?fileSize={PART * MOST_PARTS - 1}")
            seconds.append(time.perf_counter() - begun)
            parts = answer.json()["parts"]
            if len(parts) != MOST_PARTS or not all(part["url"] for part in parts):
                raise measure.Failed(f"{len(parts)} parts were answered, or parts without URL.")
            pool.request("DELETE", f"{server}/upload/{identity}")
    del seconds[0]
    middle = median(seconds)
    what = "Answer of POST …/uploads for 10,000 parts, MinIO"
    return Findings([Goal(what, f"{middle:.3f} s", middle, 0.15, "0.15 s")], raw={what: seconds})


@figure("version")
def version(lab: Lab) -> Findings:
    """Small commands of the client, whole processes."""
    asked = ("_SCORE_CLIENT_COMPLETE=bash_complete", "COMP_WORDS=score-client download --o", "COMP_CWORD=2")
    contenders: dict[str, Callable[[], Usage]] = {
        "score-client version": lambda: lab.score(lab.on_disk, "version"),
        "score-client --help": lambda: lab.score(lab.on_disk, "--help"),
        "completion of an option": lambda: lab.rival("env", *asked, program("score-client")),
        "python -c pass": lambda: lab.rival(sys.executable, "-c", "pass"),
    }
    found = measure.contest(contenders, 3 * lab.scale.rounds)
    *mine, bare = (median(found[name].walls) for name in contenders)
    limit = 3 * bare + 0.1
    goals = [
        Goal(f"{name}, whole process", f"{wall:.3f} s", wall, limit, f"3 × python -c pass + 0.1 s = {limit:.3f} s")
        for name, wall in zip(contenders, mine, strict=False)
    ]
    return Findings(goals, [Table("Small commands", found, "python -c pass")])


@figure("start")
def start(lab: Lab) -> Findings:
    """From the start of the server to its first answer, on both stores."""
    findings = Findings()
    for site in lab.sites:
        seconds = []
        for _ in range(lab.scale.rounds):
            site.server.stop()
            begun = time.perf_counter()
            site.server.start(checked=False)
            seconds.append(time.perf_counter() - begun)
        middle = median(seconds)
        what = f"score-server start to first answer, {site.name}"
        findings.goals.append(Goal(what, f"{middle:.2f} s", middle, 2, "2 s"))
        findings.raw[what] = seconds
    return findings

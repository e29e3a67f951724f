"""The figures of mounts: a large file from end to end, random regions of a BAM, a repository of many files."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import measure
from figures import MEMORY, MIB, Findings, Goal, Table, figure
from lab import Lab
from measure import Failed, Usage, ratio
from sites import BUCKETS, STUDY
from slicing import CONTIG, LENGTH, payload

from score.testing.components import find
from score.testing.processes import Program, clean_environment, program

DELAY = 0.02
"""Seconds there and back."""
RATE = 250e6
"""Bytes per second that a mount is to reach behind that delay."""
REGIONS = 200
SPLICE = Path(__file__).with_name("splice.py")
OBJECTS = 100_000
_BUNDLE = 100


@contextmanager
def mounted(command: Sequence[str], environment: dict[str, str], point: Path, said: str) -> Iterator[Program]:
    """A program that mounts on ``point``; ready when the kernel knows of it."""
    point.mkdir(exist_ok=True)
    with Program(command, point.parent / f"{point.name}-log", environment) as running:
        try:
            running.wait_until(lambda: os.path.ismount(point) and said in running.stderr)
            yield running
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False)
            running.wait(30)


def processor_time(running: Program) -> float:
    """Seconds of the processors that it took so far."""
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def relay(delay: float, target: str) -> Iterator[str]:
    """The URL of a way to ``target`` of ``delay`` seconds there and back, that costs next to nothing."""
    parts = urlsplit(target)
    command = [sys.executable, str(SPLICE), str(delay), str(parts.hostname), str(parts.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield f"http://127.0.0.1:{running.stdout.readline().strip()}"
        finally:
            running.kill()


def peak(running: Program) -> int:
    """The most memory that it ever had, in bytes."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def ours(environment: dict[str, str], point: Path) -> AbstractContextManager[Program]:
    """Our mount."""
    command = [program("score-client"), "mount", "--mount-point", str(point)]
    return mounted(command, environment, point, "Mounted on")


@figure("mount-cat")
def mount_cat(lab: Lab) -> Findings:
    """One large file, read from end to end through a mount behind 20 ms, next to a download at 0 ms."""
    site = lab.on_minio
    made = lab.one
    point = lab.folder / "mount"
    with relay(DELAY, lab.minio.endpoint) as far:
        lab.publish(site, made)
        path = point / lab.analysis(site, made).id / made.files[0].name

        def at(host: str) -> None:
            site.server.stop()
            site.server.start(s3_preSignedUrl_override_host=host)

        def read() -> Usage:
            at(far)
            with ours(site.environment, point) as running:
                before = processor_time(running)
                used = measure.run(["sh", "-c", f"cat {path} > /dev/null"], clean_environment(lab.folder), lab.folder)
                return Usage(used.wall, used.cpu + processor_time(running) - before, peak(running))

        def fetch() -> Usage:
            at("")
            return lab.download(site, made)

        contenders = {"cat through the mount": read, "score-client download": fetch}
        found = measure.contest(contenders, lab.scale.rounds)
        at("")
    most = found["cat through the mount"].peak
    what = f"cat of {made.name} behind 20 ms"
    rate = made.size / sorted(found["cat through the mount"].walls)[lab.scale.rounds // 2]
    share = 1 / ratio(found["cat through the mount"].walls, found["score-client download"].walls)
    goals = [
        Goal(f"{what}: rate", f"{rate / 1e6:.0f} MB/s", RATE / rate, 1, "at least 250 MB/s"),
        Goal(f"{what}: share of a download at 0 ms", f"{share:.2f}", 0.7 / share, 1, "at least 0.7"),
        Goal(f"{what}: memory of the mount", f"{most / MIB:.0f} MiB", most, MEMORY, "256 MiB"),
    ]
    return Findings(goals, [Table(what, found, "score-client download", made.size)])


@figure("mount-regions")
def mount_regions(lab: Lab) -> Findings:
    """Random regions of a BAM, counted by samtools through our mount and through rclone's, the index warm."""
    site = lab.on_minio
    made = payload(lab)
    lab.publish(site, made)
    analysis = lab.analysis(site, made)
    samtools, rclone = find("samtools"), find("rclone")
    if samtools is None or rclone is None:
        raise Failed("samtools and rclone are needed: tools/components.py install samtools rclone")
    store = {
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "Minio",
        "RCLONE_CONFIG_STORE_ENDPOINT": lab.minio.endpoint,
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": lab.minio.access_key,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": lab.minio.secret_key,
    }
    mine, other = lab.folder / "mount", lab.folder / "rclone"
    command = [str(rclone), "mount", "--read-only", f"store:{BUCKETS[0]}/data", str(other)]
    data = [analysis.ids[0], analysis.ids[1]]
    with (
        ours(site.environment, mine) as running,
        mounted(command, clean_environment(lab.folder) | store, other, ""),
    ):
        rounds = {"ours": 0, "rclone": 0}

        def count(name: str, *files: str) -> Usage:
            rounds[name] += 1
            dice = random.Random(rounds[name])
            starts = [dice.randrange(1, LENGTH - 20_000) for _ in range(REGIONS)]
            regions = [f"{CONTIG}:{start}-{start + 17_000}" for start in starts]
            return measure.run(
                [str(samtools), "view", "-c", *files, *regions], clean_environment(lab.folder), lab.folder
            )

        folder = mine / analysis.id
        found = measure.contest(
            {
                "mount": lambda: count("ours", str(folder / made.files[0].name)),
                "rclone mount": lambda: count("rclone", "-X", *(str(other / one) for one in data)),
            },
            lab.scale.rounds,
        )
        used = peak(running)
    what = f"{REGIONS} random regions of {made.name}"
    wall = ratio(found["mount"].walls, found["rclone mount"].walls)
    goals = [
        Goal(f"{what}: time", f"{wall:.2f} × rclone mount", wall, 1.2, "1.2 × rclone mount"),
        Goal(f"{what}: memory of the mount", f"{used / MIB:.0f} MiB", used, MEMORY, "256 MiB"),
    ]
    return Findings(goals, [Table(what, found, "rclone mount")])


@figure("mount-many")
def mount_many(lab: Lab) -> Findings:
    """A repository of 100,000 objects: how long until it is mounted, until one analysis is listed, until all is."""
    site = lab.on_disk
    point = lab.folder / "mount"
    point.mkdir(exist_ok=True)
    analyses = [_submit(site.server.url, number) for number in range(OBJECTS // _BUNDLE)]
    measured: dict[str, list[float]] = {"mounted": [], "one analysis listed": [], "all listed": []}
    peaks: list[int] = []
    for _ in range(lab.scale.rounds):
        begun = time.monotonic()
        with ours(site.environment, point) as running:
            measured["mounted"].append(time.monotonic() - begun)
            begun = time.monotonic()
            assert len(os.listdir(point / analyses[-1])) == _BUNDLE
            measured["one analysis listed"].append(time.monotonic() - begun)
            assert set(analyses) <= set(os.listdir(point))
            measured["all listed"].append(time.monotonic() - begun)
            peaks.append(peak(running))
    worst = {name: max(times) for name, times in measured.items()}
    what = f"Mount of {OBJECTS:,} objects"
    goals = [
        Goal(f"{what}: ready", f"{worst['mounted']:.2f} s", worst["mounted"], 3, "3 s"),
        Goal(
            f"{what}: an analysis of {_BUNDLE} files listed",
            f"{worst['one analysis listed']:.2f} s",
            worst["one analysis listed"],
            1,
            "1 s",
        ),
        Goal(f"{what}: memory", f"{max(peaks) / MIB:.0f} MiB", max(peaks), MEMORY, "256 MiB"),
    ]
    return Findings(goals, raw={f"{what}: {name}": times for name, times in measured.items()})


def _submit(url: str, number: int) -> str:
    """Register files that nobody uploads; the id of their analysis."""
    files = [
        {
            "fileName": f"sample-{number:04}-{one:04}.bam",
            "fileSize": 1,
            "fileMd5sum": f"{number * _BUNDLE + one:032x}",
            "fileType": "BAM",
            "fileAccess": "open",
            "dataType": "x",
        }
        for one in range(_BUNDLE)
    ]
    document = {"studyId": STUDY, "analysisType": {"name": "variantCall"}, "samples": [], "files": files}
    if number == 0:
        _call("POST", f"{url}/studies/{STUDY}/", {"studyId": STUDY, "name": STUDY})
    return str(_call("POST", f"{url}/submit/{STUDY}", document)["analysisId"])


def _call(method: str, url: str, document: object) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    request.method = method
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        return {}

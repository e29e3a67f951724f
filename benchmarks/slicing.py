"""The figures of slicing: a region of a large BAM, a long way off."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median

import measure
import pysam
from figures import MEMORY, MIB, Findings, Goal, Table, figure
from lab import Lab, Payload
from latency import Relay, relays
from measure import Usage

from score.genomics.bgzf import EOF, deflate
from score.testing.components import find
from score.testing.processes import clean_environment, program

DELAY = 0.05
"""Seconds there and back."""
RATE = 100e6 / 8
"""Bytes in a second, where the way is a slow one."""
CONTIG, LENGTH = "chr1", 240_000_000
REGION = f"{CONTIG}:120000000-120017000"
"""About 700 reads, where one begins every 25 bases or so."""
_GROUP = 20_000


def make_bam(path: Path, size: int) -> None:
    """A sorted BAM of about ``size`` bytes, of reads of 150 bases with eight kinds of quality, and its index."""
    text = f"@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:{CONTIG}\tLN:{LENGTH}\n".encode()
    name = CONTIG.encode() + b"\0"
    head = b"BAM\1" + struct.pack("<i", len(text)) + text + struct.pack("<ii", 1, len(name)) + name
    head += struct.pack("<i", LENGTH)
    dice = random.Random(2)
    group, places = bytearray(), []
    for number in range(_GROUP):
        title = f"read:{number:05}:{dice.randrange(10**9):09}".encode() + b"\0"
        quality = bytes(dice.choices((2, 11, 20, 25, 30, 35, 37, 40), k=150))
        body = struct.pack("<iiBBHHHiiii", 0, 0, len(title), 60, 4681, 1, 0, 150, -1, -1, 0) + title
        body += struct.pack("<I", 150 << 4) + dice.randbytes(75) + quality
        places.append(len(group) + 8)
        group += struct.pack("<i", len(body)) + body
    reads = size // (len(deflate(bytes(group))) // _GROUP)
    step = (LENGTH - 1000) / reads
    at = 0
    with open(path, "wb") as file:
        file.write(deflate(head))
        for _ in range(reads // _GROUP):
            for place in places:
                struct.pack_into("<i", group, place, int(at * step))
                at += 1
            file.write(deflate(bytes(group)))
        file.write(EOF)
    pysam.index(str(path))


def payload(lab: Lab) -> Payload:
    """The BAM and its index."""
    folder = lab.folder / "payloads" / "slicing"
    if not folder.exists():
        folder.mkdir(parents=True)
        make_bam(folder / "large.bam", lab.scale.one)
    files = tuple(sorted(folder.iterdir()))
    return Payload(f"a BAM of {files[0].stat().st_size // MIB:,} MiB", folder, files)


@figure("view-region")
def view_region(lab: Lab) -> Findings:
    """A region of about 700 reads out of a BAM behind 50 ms, by score-client view and by samtools on signed URLs."""
    made = payload(lab)
    site = lab.on_minio
    findings = Findings()
    with relays(DELAY, lab.minio.endpoint, site.server.url, site.environment["METADATA_URL"]) as way:
        to_store, to_score, to_song = way
        site.server.stop()
        site.server.start(s3_preSignedUrl_override_host=to_store.url)
        lab.publish(site, made)
        data, index = lab.analysis(site, made).ids
        far = site.environment | {"STORAGE_URL": to_score.url, "METADATA_URL": to_song.url}
        urls = [
            subprocess.run(
                [program("score-client"), "url", "--object-id", one],
                env=site.environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for one in (data, index)
        ]
        samtools = str(find("samtools"))
        words = ["view", "--object-id", data, "--query", REGION]
        moved: dict[str, list[tuple[int, int]]] = {}

        def counted(name: str, run: Callable[[], Usage]) -> Callable[[], Usage]:
            def one() -> Usage:
                before = to_store.counts.requests, to_store.counts.received
                used = run()
                now = to_store.counts
                moved.setdefault(name, []).append((now.requests - before[0], now.received - before[1]))
                return used

            return one

        def ours(settings: dict[str, str]) -> Usage:
            return measure.run([program("score-client"), *words], settings, lab.fresh())

        def theirs() -> Usage:
            command = [samtools, "view", "-h", "-X", *urls, REGION]
            return measure.run(command, clean_environment(lab.folder), lab.fresh())

        def slowly(run: Callable[[], Usage]) -> Callable[[], Usage]:
            def one() -> Usage:
                to_store.rate = RATE
                try:
                    return run()
                finally:
                    to_store.rate = 0

            return one

        contenders = {
            "score-client view": counted("score-client view", lambda: ours(site.environment)),
            "score-client view, all behind 50 ms": counted("all", lambda: ours(far)),
            "score-client view, 100 Mbit/s": slowly(lambda: ours(site.environment)),
            "samtools view, signed URLs": counted("samtools", theirs),
            "samtools view, signed URLs, 100 Mbit/s": slowly(theirs),
        }
        found = measure.contest(contenders, lab.scale.rounds)
    site.server.stop()
    site.server.start(s3_preSignedUrl_override_host="")
    mine, other = (
        [median(column) for column in zip(*moved[name], strict=True)] for name in ("score-client view", "samtools")
    )
    what = f"Region of {made.name} behind 50 ms"
    walls = [median(found[name].walls) for name in ("score-client view", "samtools view, signed URLs")]
    findings.goals += [
        Goal(f"{what}: requests to the store", f"{mine[0]:.0f}", mine[0], other[0], f"{other[0]:.0f}, samtools"),
        Goal(f"{what}: bytes", f"{mine[1]:,.0f}", mine[1], other[1], f"{other[1]:,.0f}, samtools"),
        Goal(f"{what}: time", f"{walls[0]:.2f} s", walls[0], walls[1], f"{walls[1]:.2f} s, samtools"),
    ]
    peak = found["score-client view"].peak
    findings.goals.append(Goal(f"{what}: memory", f"{peak / MIB:.0f} MiB", peak, MEMORY, "256 MiB"))
    findings.tables.append(Table(what, found, "samtools view, signed URLs"))
    return findings


__all__ = ["Relay", "view_region"]

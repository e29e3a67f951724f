"""The figures of hard transfers: a distant network, a crash half-way, twenty large files at once."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import link
import measure
import urllib3
from figures import MEMORY, MIB, Findings, Goal, figure, times
from lab import Lab
from measure import Usage
from sites import BUCKETS, STUDY, Analysis, MinioSite

from score.testing.faults import Exchange
from score.testing.processes import program
from score.testing.proxy import FaultProxy

DELAY = 0.025
"""Seconds each way."""
RATE = 100e6
"""Bits per second each way."""
PLAIN = 250_000_000
"""Bytes that plain TCP moves for comparison."""
QUEUE = 1_250_000
"""Bytes that wait before the link at most: twice what is on its way at a time."""


@contextmanager
def site_with_urls_to(lab: Lab, host: str) -> Iterator[MinioSite]:
    """A server on the MinIO of the lab whose URLs lead to ``host``."""
    site = MinioSite(lab.folder, lab.minio, lab.song, host)
    site.server.start()
    try:
        yield site
    finally:
        site.server.stop()


def commands(lab: Lab, analysis: Analysis) -> tuple[list[str], list[str]]:
    """What uploads the files of an analysis, and what downloads them again."""
    down = ["download", "--study-id", STUDY, "--analysis-id", analysis.id, "--output-dir", str(lab.fresh())]
    return ["upload", "--manifest", str(analysis.manifest)], down


@figure("link")
def over_a_link(lab: Lab) -> Findings:
    """One large file through 100 Mbit/s and 50 ms, both ways."""
    findings = Findings()
    if missing := link.missing():
        print(f"    left out: {missing}", flush=True)
        return findings
    store = urlsplit(lab.minio.endpoint).port or 80
    payload = lab.one
    with site_with_urls_to(lab, f"{link.OUTSIDE}:{store}") as site:
        ports = [store, *(urlsplit(url).port or 80 for url in (site.server.url, lab.song.url))]
        with link.linked(ports, delay=DELAY, rate=RATE, queue=QUEUE) as wire:
            analysis = site.register(payload.folder)
            environment = link.as_seen_from_inside(site.environment)
            bare = PLAIN * 8 / link.plain(wire, PLAIN, 6) / RATE
            for way, words in zip(("Upload", "Download"), commands(lab, analysis), strict=True):
                used: Usage = measure.run(wire.inside([program("score-client"), *words]), environment, lab.folder)
                site.publish(analysis)
                what = f"{way} of {payload.name} through 100 Mbit/s, {2000 * DELAY:.0f} ms there and back"
                share = payload.size * 8 / used.wall / RATE
                findings.goals.append(
                    Goal(f"{what}: rate", f"{share:.1%} of it (plain TCP: {bare:.1%})", -share, -0.9, "90 % at least")
                )
                findings.raw[what] = [used.wall]
    return findings


@figure("resume")
def resume(lab: Lab) -> Findings:
    """One large file, both ways, killed half-way and run again."""
    payload = lab.one
    findings = Findings()
    with FaultProxy(lab.minio.endpoint) as proxy, site_with_urls_to(lab, proxy.host) as site:
        analysis = site.register(payload.folder)
        up, down = commands(lab, analysis)
        out = Path(down[-1])
        ways: list[tuple[str, str, list[str], Callable[[], set[str]]]] = [
            ("Upload", "PUT", up, lambda: parts_recorded(site, analysis, payload.size)),
            ("Download", "GET", down, lambda: ranges_recorded(out)),
        ]
        for way, method, words, recorded in ways:
            proxy.traffic.forget()
            kill_half_way(lab, site, words, lambda m=method: moved(proxy, m) >= payload.size / 2)  # type: ignore[misc]
            finished = recorded()
            before = len(proxy.traffic.seen(method=method))
            lab.score(site, *words)
            again = Counter(part_of(one) for one in proxy.traffic.seen(method=method)[before:])
            site.publish(analysis)
            what = f"{way} of {payload.name}, killed half-way and run again"
            ratio = moved(proxy, method) / payload.size
            repeated = sum(again[part] for part in finished)
            findings.goals += [
                Goal(f"{what}: bytes moved", times(ratio, "the file"), ratio, 1.15, "1.15 × the file"),
                Goal(f"{what}: of {len(finished)} finished parts moved again", str(repeated), repeated, 0, "0"),
            ]
    return findings


def moved(proxy: FaultProxy, method: str) -> int:
    """Bytes of parts that passed the proxy, one way or the other."""
    return sum(one.sent + one.received for one in proxy.traffic.seen(method=method, path=f"^/{BUCKETS[0]}/"))


def part_of(exchange: Exchange) -> str:
    """Which part of the object a request is about."""
    words = (word for word in exchange.query.split("&") if word.startswith("partNumber="))
    return next(words, exchange.headers.get("range", ""))


def kill_half_way(lab: Lab, site: MinioSite, words: list[str], enough: Callable[[], bool]) -> None:
    """Run the client until ``enough``, and kill it."""
    client = subprocess.Popen(
        [program("score-client"), *words], cwd=lab.folder, env=site.environment, stderr=subprocess.DEVNULL
    )
    while not enough():
        if client.poll() is not None:
            raise measure.Failed("The client ended before it could be killed.")
        time.sleep(0.005)
    client.send_signal(signal.SIGKILL)
    client.wait()
    time.sleep(1)  # what is on its way arrives, or does not


def parts_recorded(site: MinioSite, analysis: Analysis, size: int) -> set[str]:
    """The finished parts of the upload in progress, by the server's word."""
    (identity,) = analysis.ids
    with urllib3.PoolManager(retries=False) as http:
        parts = http.request("GET", f"{site.server.url}/upload/{identity}/status?fileSize={size}").json()["parts"]
    return {f"partNumber={part['partNumber']}" for part in parts if part.get("sourceMd5")}


def ranges_recorded(out: Path) -> set[str]:
    """The ranges of the finished parts of the downloads into a folder, by the client's records."""
    parts = [json.loads(path.read_bytes()) for path in out.glob(".*/part-*")]
    return {f"bytes={part['offset']}-{part['offset'] + part['partSize'] - 1}" for part in parts}


@figure("memory")
def memory(lab: Lab) -> Findings:
    """Twenty large files at once, both ways, with the client's defaults."""
    findings = Findings()
    payload = lab.twenty
    site = lab.on_minio
    analysis = site.register(payload.folder)
    for way, words in zip(("Upload", "Download"), commands(lab, analysis), strict=True):
        used = lab.score(site, *words)
        site.publish(analysis)
        what = f"{way} of {payload.name} at once"
        peak = f"{used.peak / MIB:.0f} MiB"
        findings.goals.append(Goal(f"{what}: client peak memory", peak, used.peak, MEMORY, "256 MiB"))
        findings.raw[what] = [used.wall]
    lab.fresh()
    return findings

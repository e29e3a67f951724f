"""The figures of the server alone: what its calls cost it, on MinIO."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

import botocore.session
import measure
import urllib3
from botocore.config import Config
from figures import MIB, PART, Findings, Goal, figure
from lab import FULL, Lab
from sites import BUCKETS, MinioSite

from score.protocol.parts import MOST_PARTS
from score.testing.load import Laid
from score.testing.load import lay_upload as lay

CLIENTS = 32
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> int:
    """Bytes that a process has in memory."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def lay_upload(lab: Lab, site: MinioSite, parts: int, *, recorded: bool = False) -> Laid:
    """An upload in progress whose parts are all in the store and, unless ``recorded``, not recorded."""
    with _botocore(lab) as client, ThreadPoolExecutor(CLIENTS) as pool:
        laid = lay(client, *BUCKETS[:2], site.announce(f"{parts}-parts.bam"), parts)
        if recorded:
            _record(client, pool, laid.identity, laid.upload, laid.etags)
    return laid


@contextmanager
def _botocore(lab: Lab) -> Iterator[Any]:
    """MinIO past the server."""
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=lab.minio.endpoint,
        aws_access_key_id=lab.minio.access_key,
        aws_secret_access_key=lab.minio.secret_key,
        config=Config(max_pool_connections=CLIENTS),
    )
    with closing(client):
        yield client


def _record(client: Any, pool: ThreadPoolExecutor, identity: str, upload: str, etags: list[str]) -> None:
    """Records of finished parts, whose MD5s are their ETags."""

    def put(number: int) -> None:
        name = json.dumps({"partNumber": number, "md5": etags[number - 1], "etag": etags[number - 1]})
        key = f"upload/{identity}_{upload}/part-{number:08x}|{name.replace(' ', '')}"
        client.put_object(Bucket=BUCKETS[1], Key=key, Body=b"")

    list(pool.map(put, range(1, len(etags) + 1)))


def finish_parts(url: str, laid: Laid, most: int = 400, *, in_order: bool = False) -> int:
    """Parts finalised by many clients at once, at most so many; gives their number. In no order, or one after another
    from the middle on, as the threads of a client do."""
    count = min(most, len(laid.etags))
    middle = (len(laid.etags) - count) // 2
    numbers = list(range(middle + 1, middle + count + 1))
    if not in_order:
        numbers = random.Random(1).sample(range(1, len(laid.etags) + 1), count)
    with urllib3.PoolManager(maxsize=CLIENTS, retries=False) as http, ThreadPoolExecutor(CLIENTS) as pool:

        def finish(number: int) -> None:
            answer = http.request("POST", url + laid.call(number))
            if answer.status != 200:
                raise measure.Failed(f"Part {number} was answered {answer.status}: {answer.data!r}")

        return len(list(pool.map(finish, numbers)))


@figure("part-finalisation")
def part_finalisation(lab: Lab) -> Findings:
    """Processor time of the server for one POST …/parts, and its memory after that and large initiations."""
    site = lab.on_minio
    server = site.server
    server.stop()
    server.start()
    finish_parts(server.url, lay_upload(lab, site, 200))  # warm
    findings = Findings()
    for parts, in_order in ((400, True), (400, False), (4000, True), (4000, False)):
        each = []
        for _ in range(lab.scale.rounds if parts == 400 else 1):
            laid = lay_upload(lab, site, parts)
            before = cpu_seconds(server.pid)
            number = finish_parts(server.url, laid, in_order=in_order)
            each.append((cpu_seconds(server.pid) - before) / number)
        cost = median(each)
        order = "in order" if in_order else "in no order"
        what = f"Server CPU of one part finalisation, {parts:,} parts {order}, {CLIENTS} clients, MinIO"
        findings.goals.append(Goal(what, f"{cost * 1000:.2f} ms", cost, 0.001, "1 ms"))
        findings.raw[what] = each
    with urllib3.PoolManager(retries=False) as http:
        for _ in range(10):
            identity = site.announce("many.bam")
            http.request("POST", f"{server.url}/upload/{identity}/uploads?fileSize={PART * MOST_PARTS - 1}")
    memory = resident(server.pid)
    what = "Server memory after that and 10 starts of 10,000 parts"
    findings.goals.append(Goal(what, f"{memory / MIB:.0f} MiB", memory, 150 * MIB, "150 MiB"))
    return findings


def peak(pid: int) -> int:
    """The most bytes that a process had in memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


@figure("cleanup")
def cleanup(lab: Lab) -> Findings:
    """A cleanup of 50,000 keys of stale uploads: memory, and how long clients wait meanwhile."""
    site, server = lab.on_minio, lab.on_minio.server
    uploads, records = (100, 500) if lab.scale.one == FULL.one else (20, 100)
    with urllib3.PoolManager(retries=False) as http:
        http.request("POST", f"{server.url}/upload/cancel")  # what other figures left is not to be counted
    _lay_stale(lab, uploads, records)
    lab.publish(site, lab.one)
    (identity,) = lab.analysis(site, lab.one).ids
    with urllib3.PoolManager(retries=False) as http:

        def ask() -> float:
            begun = time.perf_counter()
            answer = http.request("GET", f"{server.url}/download/{identity}?offset=0&length=-1")
            if answer.status != 200:
                raise measure.Failed(f"A download was answered {answer.status} during a cleanup.")
            return time.perf_counter() - begun

        server.stop()
        server.start()
        before = [ask() for _ in range(500)][100:]
        server.stop()
        server.start(upload_clean_cron="* * * * * ?", s3_upload_expiration="0")
        during = []
        begun = time.perf_counter()
        while f"Cleanup: {uploads} stale uploads removed" not in server.output:
            during.append(ask())
        seconds = time.perf_counter() - begun
        memory = peak(server.pid)
        server.stop()
        server.start(upload_clean_cron="0 0 0 * * ?", s3_upload_expiration="6")
    found = Findings(raw={"Seconds of a cleanup": [seconds]})
    keys = f"{uploads * records:,} keys"
    for name, pick in (("median", median), ("slowest of a hundred", slow)):
        factor = pick(during) / pick(before)
        what = f"Calls of clients during a cleanup of {keys}, {name}"
        found.goals.append(Goal(what, f"{factor:.2f} × as before", factor, 2, "2 ×"))
    what = f"Server peak memory, cleanup of {keys}"
    found.goals.append(Goal(what, f"{memory / MIB:.0f} MiB", memory, 150 * MIB, "150 MiB"))
    return found


def slow(seconds: list[float]) -> float:
    """What one call of a hundred takes at least."""
    return sorted(seconds)[int(len(seconds) * 0.99)]


def _lay_stale(lab: Lab, uploads: int, records: int) -> None:
    """Uploads with so many records each, of objects that nobody knows any more."""
    with _botocore(lab) as client, ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(uploads):
            identity = str(uuid.uuid4())
            upload = client.create_multipart_upload(Bucket=BUCKETS[0], Key=f"data/{identity}")["UploadId"]
            _record(client, pool, identity, upload, ["0" * 32] * records)
            client.put_object(Bucket=BUCKETS[1], Key=f"upload/{identity}_{upload}/.meta", Body=b"{}")


@figure("cancel")
def cancel(lab: Lab) -> Findings:
    """Cancellation of an upload of which 10,000 parts are sent and recorded."""
    site = lab.on_minio
    identity = lay_upload(lab, site, MOST_PARTS, recorded=True).identity
    with urllib3.PoolManager(retries=False) as http:
        begun = time.perf_counter()
        answer = http.request("DELETE", f"{site.server.url}/upload/{identity}")
        seconds = time.perf_counter() - begun
        if answer.status != 200:
            raise measure.Failed(f"The cancellation was answered {answer.status}.")
    what = "Cancellation of an upload of 10,000 parts, MinIO"
    return Findings([Goal(what, f"{seconds:.2f} s", seconds, 2, "2 s")], raw={what: [seconds]})

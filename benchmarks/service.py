"""The figures of the server alone: what its calls cost it, on MinIO."""

from __future__ import annotations

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median
from urllib.parse import urlencode

import botocore.session
import measure
import urllib3
from botocore.config import Config
from figures import MIB, PART, Findings, Goal, figure
from lab import Lab
from sites import BUCKETS, MinioSite

from score.protocol.parts import MOST_PARTS

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


def lay_upload(lab: Lab, site: MinioSite, parts: int, *, recorded: bool = False) -> tuple[str, str, list[str]]:
    """An upload in progress whose parts of a few bytes are all in the store and, unless ``recorded``, not recorded:
    object id, upload id, and the ETag of each part. The server takes it over, as it takes over the reference's."""
    identity = site.announce(f"{parts}-parts.bam")
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=lab.minio.endpoint,
        aws_access_key_id=lab.minio.access_key,
        aws_secret_access_key=lab.minio.secret_key,
        config=Config(max_pool_connections=CLIENTS),
    )
    size = 8
    with closing(client), ThreadPoolExecutor(CLIENTS) as pool:
        upload = client.create_multipart_upload(Bucket=BUCKETS[0], Key=f"data/{identity}")["UploadId"]

        def send(number: int) -> str:
            body = number.to_bytes(size, "big")
            place = {"Bucket": BUCKETS[0], "Key": f"data/{identity}", "UploadId": upload, "PartNumber": number}
            return str(client.upload_part(**place, Body=body)["ETag"]).strip('"')

        etags = list(pool.map(send, range(1, parts + 1)))
        document = {
            "objectKey": f"data/{identity}", "objectId": identity, "uploadId": upload, "objectSize": size * parts,
            "parts": [{"partNumber": n + 1, "partSize": size, "offset": n * size} for n in range(parts)],
        }  # fmt: skip
        folder = f"upload/{identity}_{upload}/"
        client.put_object(Bucket=BUCKETS[1], Key=f"{folder}.meta", Body=json.dumps(document).encode())

        def record(number: int) -> None:
            name = json.dumps({"partNumber": number, "md5": etags[number - 1], "etag": etags[number - 1]})
            key = f"{folder}part-{number:08x}|{name.replace(' ', '')}"
            client.put_object(Bucket=BUCKETS[1], Key=key, Body=b"")

        if recorded:
            list(pool.map(record, range(1, parts + 1)))
    return identity, upload, etags


def finish_parts(url: str, identity: str, upload: str, etags: list[str], most: int = 400) -> int:
    """Parts finalised by many clients at once, in no order, at most so many; gives their number."""
    numbers = random.Random(1).sample(range(1, len(etags) + 1), min(most, len(etags)))
    with urllib3.PoolManager(maxsize=CLIENTS, retries=False) as http, ThreadPoolExecutor(CLIENTS) as pool:

        def finish(number: int) -> None:
            etag = etags[number - 1]
            query = urlencode({"partNumber": number, "uploadId": upload, "md5": etag, "etag": etag})
            answer = http.request("POST", f"{url}/upload/{identity}/parts?{query}")
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
    finish_parts(server.url, *lay_upload(lab, site, 200))  # warm
    findings = Findings()
    for parts in (400, 4000):
        each = []
        for _ in range(lab.scale.rounds if parts == 400 else 1):
            laid = lay_upload(lab, site, parts)
            before = cpu_seconds(server.pid)
            number = finish_parts(server.url, *laid)
            each.append((cpu_seconds(server.pid) - before) / number)
        cost = median(each)
        what = f"Server CPU of one part finalisation, {parts:,} parts, {CLIENTS} clients, MinIO"
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


@figure("cancel")
def cancel(lab: Lab) -> Findings:
    """Cancellation of an upload of which 10,000 parts are sent and recorded."""
    site = lab.on_minio
    identity, _, _ = lay_upload(lab, site, MOST_PARTS, recorded=True)
    with urllib3.PoolManager(retries=False) as http:
        begun = time.perf_counter()
        answer = http.request("DELETE", f"{site.server.url}/upload/{identity}")
        seconds = time.perf_counter() - begun
        if answer.status != 200:
            raise measure.Failed(f"The cancellation was answered {answer.status}.")
    what = "Cancellation of an upload of 10,000 parts, MinIO"
    return Findings([Goal(what, f"{seconds:.2f} s", seconds, 2, "2 s")], raw={what: [seconds]})

"""The numbers of the server: what is counted, under which labels, and that nothing in them names anybody's data."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from score.auth.embedded import KeyFile
from score.broker.census import Census
from score.errors import Unavailable
from score.server.build import layout_of, open_service
from score.server.settings import Settings
from score.storage.base import ObjectStat, Prefix
from score.storage.local import LocalStore
from score.testing.faults import Answer
from score.testing.minio import Minio
from score.testing.proxy import FaultProxy
from score.testing.secured import DATA, SecuredSite, secured_site
from score.testing.server import RunningServer
from score.testing.site import Server
from score.testing.song import FakeSong

OBJECT = "5c0e0000-0000-4000-8000-000000000001"


class Numbers:
    """The samples of one scrape, by name; a label that is not given matches all, and what matches is added up."""

    def __init__(self, http: urllib3.PoolManager, url: str) -> None:
        answer = http.request("GET", f"{url}/metrics")
        assert answer.status == 200
        self.text = answer.data.decode()
        families = text_string_to_metric_families(self.text)
        self._samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        found = [one for one in self._samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(one.value for one in found)

    def values(self, label: str) -> set[str]:
        return {one.labels[label] for one in self._samples if label in one.labels}


def local(root: Path, **more: object) -> RunningServer:
    chosen = Settings.model_validate({"local.directory": root, "profiles": ("local",), **more})
    return RunningServer(lambda: open_service(chosen), chosen)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SecuredSite]:
    with closing(KeyFile(tmp_path / "keys.sqlite3")) as keys, secured_site(tmp_path / "data", keys) as site:
        yield site


def test_requests_are_counted_by_template(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with local(tmp_path / "one") as server, local(tmp_path / "other") as other:
        for path in (f"/upload/{OBJECT}", "/upload/nonsense", "/nowhere", f"/{OBJECT}", "/studies/X/analysis"):
            http.request("GET", server.url + path)
        http.request("PUT", server.url + "/profile")
        numbers = Numbers(http, server.url)
        counted = "score_http_requests_total"
        assert numbers(counted, route="/upload/{object_id}", method="GET", status="200") == 1
        assert numbers(counted, route="/upload/{object_id}", method="GET", status="400") == 1
        assert numbers(counted, route="unmatched", status="404") == 2
        assert numbers(counted, route="/studies/{study}/analysis", status="404") == 1
        assert numbers(counted, route="/profile", status="405") == 1
        assert numbers(counted) == 6
        assert numbers("score_http_request_duration_seconds_count") == 6
        assert numbers("score_http_requests_in_flight") == 1, "the scrape itself"
        assert numbers("score_build_info") == 1
        assert numbers("process_resident_memory_bytes") > 1e6
        assert OBJECT not in numbers.text
        assert Numbers(http, other.url)(counted) == 0, "each application has numbers of its own"


def test_an_upload_and_a_download(site: SecuredSite) -> None:
    analysis, identity = site.register("a.vcf")
    started = site.good("POST", f"/upload/{identity}/uploads?fileSize={len(DATA)}&overwrite=true")
    numbers = Numbers(site.http, site.url)
    assert numbers("score_uploads_total", event="started") == 1
    assert numbers("score_granted_parts_total", direction="upload") == 1
    assert numbers("score_granted_bytes_total", direction="upload") == len(DATA)
    site.good("GET", f"/upload/{identity}/status?fileSize={len(DATA)}")
    site.good("DELETE", f"/upload/{identity}")
    numbers = Numbers(site.http, site.url)
    assert numbers("score_uploads_total", event="started") == 1
    assert numbers("score_uploads_total", event="cancelled") == 1
    assert numbers("score_granted_parts_total", direction="upload") == 2, "the status handed out URLs once more"
    site.publish(analysis, identity)
    assert site.call("POST", f"/upload/{identity}?uploadId={started['uploadId']}", site.system).status >= 400
    site.good("GET", f"/download/{identity}?offset=0&length=-1&external=true")
    numbers = Numbers(site.http, site.url)
    assert numbers("score_uploads_total", event="completed") == 1
    assert numbers("score_granted_parts_total", direction="download") == 1
    assert numbers("score_granted_bytes_total", direction="download") == len(DATA)
    for operation in ("begin", "complete", "put", "get", "find_parts"):
        assert numbers("score_backend_calls_total", backend="store", operation=operation, outcome="ok") > 0
    assert numbers("score_backend_calls_total", backend="registry", operation="analysis_state") > 0
    calls = numbers("score_backend_calls_total")
    assert numbers("score_backend_call_duration_seconds_count") == calls
    assert identity not in numbers.text
    assert started["uploadId"] not in numbers.text
    assert analysis not in numbers.text
    assert site.system not in numbers.text


def test_what_is_remembered(site: SecuredSite) -> None:
    _, identity = site.register("a.vcf")
    uploader = site.make_key("PROGRAMDATA-TEST-CA.WRITE")
    before = Numbers(site.http, site.url)
    for _ in range(3):
        site.call("GET", f"/upload/{identity}", uploader)
    after = Numbers(site.http, site.url)
    for cache in ("authorization", "registry"):
        for result, wanted in (("miss", 1), ("hit", 2)):
            labels = {"cache": cache, "result": result}
            assert (
                after("score_cache_lookups_total", **labels) - before("score_cache_lookups_total", **labels) == wanted
            )
    assert after("score_backend_calls_total", backend="authorization", operation="identify") >= 1


def test_every_label_has_few_values(site: SecuredSite) -> None:
    """Also after calls with whatever words."""
    site.populate()
    for number in range(5):
        site.call("GET", f"/upload/{uuid.uuid4()}", site.system)
        site.call("GET", f"/entities/{uuid.uuid4()}", site.system)
        site.call("GET", f"/x{number}/{number}", "wrong")
        site.call("PROPFIND", "/profile")
    numbers = Numbers(site.http, site.url)
    assert numbers.values("method") <= {"GET", "PUT", "POST", "DELETE", "HEAD", "other"}
    wrong = [
        route
        for route in numbers.values("route")
        if not re.fullmatch(r"unmatched|(/[a-z_.-]+|/\{[a-z_:]+\})+/?", route)
    ]
    assert wrong == []
    assert numbers.values("operation") <= {
        *("stat", "get", "put", "delete", "read", "probe", "scan", "begin", "find_parts", "stored_parts", "complete"),
        *("abort", "open_uploads", "entity", "bundle", "analysis_state", "identify"),
    }
    assert all(re.fullmatch(r"[a-z_]+", outcome) for outcome in numbers.values("outcome"))


def test_without_metrics(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with local(tmp_path, **{"management.metrics.enabled": False}) as server:
        assert http.request("GET", f"{server.url}/metrics").status == 404
        assert http.request("GET", f"{server.url}/upload/{OBJECT}").data == b"false"


@pytest.mark.needs("minio")
def test_a_store_that_fails(tmp_path: Path, http: urllib3.PoolManager, minio: Minio) -> None:
    bucket = f"metrics-{uuid.uuid4().hex[:8]}"
    with FaultProxy(minio.endpoint) as store, FakeSong() as song:
        settings = Settings.model_validate(
            {
                "s3.endpoint": store.url, "s3.accessKey": minio.access_key, "s3.secretKey": minio.secret_key,
                "bucket.name.object": bucket, "bucket.name.state": bucket, "metadata.url": song.url,
                "upload.retry.limit": 1,
            }
        )  # fmt: skip
        with RunningServer(lambda: open_service(settings), settings) as server:
            store.traffic.inject(Answer.unavailable(), method="HEAD", times=2)
            assert http.request("GET", f"{server.url}/upload/{OBJECT}").status == 503
            numbers = Numbers(http, server.url)
            labels = {"backend": "store", "operation": "stat"}
            assert numbers("score_backend_calls_total", **labels) == 1
            assert numbers("score_backend_calls_total", **labels, outcome="unavailable") == 1
            assert numbers("score_backend_retries_total", backend="store") == 1
            song.traffic.inject(Answer.unavailable(), times=1)
            http.request("POST", f"{server.url}/upload/{OBJECT}/uploads?fileSize=1")
            numbers = Numbers(http, server.url)
            assert numbers("score_backend_retries_total", backend="registry") == 1
            assert numbers("score_backend_calls_total", backend="registry", outcome="not_found") == 1


def test_cleanups_are_counted(tmp_path: Path, http: urllib3.PoolManager) -> None:
    server = Server(
        tmp_path, {"spring.profiles.active": "local", "s3.upload.expiration": "0", "upload.clean.cron": "* * * * * ?"}
    )
    try:
        server.start(checked=False)
        upload = tmp_path / "score-data" / "state" / "upload" / f"{OBJECT}_someupload"
        upload.mkdir(parents=True)
        (upload / ".meta").write_bytes(b"{}")
        seen: list[Numbers] = []
        while not (seen and seen[-1]("score_cleanup_uploads_total", outcome="removed") == 1):
            assert len(seen) < 5000, server.output
            seen.append(Numbers(http, server.url))
        assert seen[-1]("score_cleanup_runs_total", outcome="done") >= 1
        assert seen[-1]("score_cleanup_last_success_timestamp_seconds") > 1.7e9
    finally:
        server.kill()


def test_no_cleanup_where_it_is_switched_off(tmp_path: Path, http: urllib3.PoolManager) -> None:
    """Another server, begun later, cleans twice meanwhile."""
    always = {"spring.profiles.active": "local", "s3.upload.expiration": "0", "upload.clean.cron": "* * * * * ?"}
    off = Server(tmp_path / "off", {**always, "upload.clean.enabled": "false"})
    on = Server(tmp_path / "on", always)
    try:
        off.start(checked=False)
        upload = tmp_path / "off" / "score-data" / "state" / "upload" / f"{OBJECT}_someupload"
        upload.mkdir(parents=True)
        (upload / ".meta").write_bytes(b"{}")
        on.start(checked=False)
        for _ in range(5000):
            if Numbers(http, on.url)("score_cleanup_runs_total", outcome="done") >= 2:
                break
        else:
            raise AssertionError(on.output)
        assert Numbers(http, off.url)("score_cleanup_runs_total") == 0
        assert (upload / ".meta").read_bytes() == b"{}"
    finally:
        off.kill()
        on.kill()


class Listed(LocalStore):
    """Counts its listings; ``away`` while it cannot be reached."""

    listings = 0
    away = False

    async def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        self.listings += 1
        if self.away:
            raise Unavailable("The store is away.")
        async for entry in super().scan(prefix, delimiter=delimiter):
            yield entry


def test_uploads_in_progress_are_counted_now_and_then(tmp_path: Path) -> None:
    now = 0.0

    async def run() -> None:
        nonlocal now
        store = Listed(tmp_path, "state", base=lambda: "")
        for number in range(3):
            await store.put(f"upload/{uuid.uuid4()}_u{number}/.meta", b"{}")
            await store.put(f"upload/{uuid.uuid4()}_u{number}/part-1", b"")
        await store.put("upload/other/x", b"")
        census = Census(store, layout_of(Settings()), every=300, clock=lambda: now)

        async def counted() -> int | None:
            census.latest()
            await census.settle()
            return census.latest()

        assert census.latest() is None, "nobody waits for the listing"
        assert await counted() == 6
        assert [census.latest() for _ in range(100)] == [6] * 100
        assert store.listings == 1
        now, store.away = 300.0, True
        assert census.latest() == 6
        assert await counted() is None, "an old number would look like a true one"
        assert store.listings == 2
        await census.close()

    asyncio.run(run())

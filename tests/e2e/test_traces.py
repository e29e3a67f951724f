"""Traces: what is sent to a collector, what is passed on, and what happens without one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from score.testing.collector import TRACES, Collector, Span
from score.testing.ego import FakeEgo
from score.testing.faults import Answer
from score.testing.processes import Program, clean_environment
from score.testing.secrecy import secret
from score.testing.secured import SecuredSite, secured_site
from score.testing.site import Server, local_site, s3_site

if TYPE_CHECKING:
    from score.testing.minio import Minio

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"
OBJECT = "5c0e0000-0000-4000-8000-000000000001"
START = "POST /upload/{object_id}/uploads"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def to(collector: Collector, **more: str) -> dict[str, str]:
    """Settings of a server that sends its spans soon."""
    return {
        "management_tracing_enabled": "true", "otel_exporter_otlp_endpoint": collector.url,
        "otel_bsp_schedule_delay": "50", "otel_exporter_otlp_timeout": "1", **more,
    }  # fmt: skip


@pytest.fixture
def secured(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecuredSite]:
    for name, value in to(collector).items():
        monkeypatch.setenv(name.upper(), value)
    more = {"management_tracing_enabled": True, "auth_cache_seconds": 0, "auth_connection_maxRetries": 0}
    with FakeEgo() as ego, secured_site(tmp_path, ego, **more) as site:
        yield site


def roots(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name and span.kind == "SERVER"]


def children(spans: list[Span], of: Span) -> dict[str, Span]:
    return {span.name: span for span in spans if span.parent == of.id}


@pytest.mark.needs("minio")
def test_from_the_caller_to_song(
    tmp_path: Path, minio: Minio, collector: Collector, http: urllib3.PoolManager
) -> None:
    headers = {"traceparent": PARENT, "tracestate": "vendor=1", "X-Request-Id": "my-name"}
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 100)
    settings = to(collector, otel_service_name="score-of-test", logging_format="json")
    with s3_site(tmp_path, minio, **settings) as site:
        registered = site.register([file])
        assert site.song
        assert site.behind
        site.song.traffic.forget()
        answer = http.request(
            "POST", f"{site.server.url}/upload/{registered.id}/uploads?fileSize=100", headers=headers
        )
        assert answer.status == 200
        spans = collector.wait_until(lambda spans: bool(roots(spans, START)))
        (root,) = roots(spans, START)
        assert (root.trace, root.parent, root.failed) == (TRACE, CALLER, False)
        assert root.attributes == {
            "http.request.method": "POST", "http.route": "/upload/{object_id}/uploads", "url.scheme": "http",
            "http.response.status_code": 200, "score.request.id": "my-name",
        }  # fmt: skip
        assert root.service["service.name"] == "score-of-test"
        lines = [json.loads(line) for line in site.server.output.splitlines() if '"request":"my-name"' in line]
        assert {line["logger"] for line in lines} == {"score.access", "score.audit"}
        assert {line["trace"] for line in lines} == {TRACE}
        called = children(spans, root)
        assert {"registry entity", "registry analysis_state", "store begin"} <= called.keys()
        assert {one.kind for one in called.values()} == {"CLIENT"}
        assert called["store begin"].attributes == {"peer.service": "store"}
        assert {span.trace for span in called.values()} == {TRACE}

        passed = {one.headers.get("traceparent") for one in site.song.traffic.seen(method="GET")}
        assert passed == {f"00-{TRACE}-{span.id}-01" for name, span in called.items() if name.startswith("registry")}
        assert {one.headers.get("tracestate") for one in site.song.traffic.seen(method="GET")} == {"vendor=1"}
        assert {one.headers.get("x-request-id") for one in site.song.traffic.seen(method="GET")} == {"my-name"}
        assert not [one for one in site.behind.seen() if "traceparent" in one.headers], "the store is of no concern"
        assert b"traceparent" not in answer.data.lower()

        site.run("upload", "--manifest", registered.manifest, "--force")
        site.publish(registered)
        site.run("download", "--object-id", registered.id, "--output-dir", tmp_path / "back")
        spans = collector.wait_until(lambda spans: bool(roots(spans, "GET /download/{object_id}")))
        assert all(span.parent or span.kind == "SERVER" for span in spans), "nothing outside of requests is traced"
        assert site.server.stop() == 0
        for posted in collector.traffic.seen(path=TRACES):
            assert registered.id.encode() not in posted.body
            assert b"/ready" not in posted.body


def test_to_the_authorization_server_and_without_secrets(secured: SecuredSite, collector: Collector) -> None:
    """The collector looks at all that comes for tokens, keys and signatures."""
    secured.populate()
    for identity in secured.objects.values():
        secured.call("GET", f"/download/{identity}?offset=0&length=-1", secured.system, traceparent=PARENT)
    secured.call("GET", "/store/object/data/x?signature=0123456789abcdef", traceparent=PARENT)
    spans = collector.wait_until(lambda spans: any("/store/" in span.name for span in roots_of_trace(spans)))
    downloads = [one for one in roots_of_trace(spans) if one.name == "GET /download/{object_id}"]
    assert {one.attributes["http.response.status_code"] for one in downloads} == {200, 400}
    called = [children(spans, one)["authorization identify"] for one in downloads]
    keys = secured.keys
    assert isinstance(keys, FakeEgo)
    passed = [one.headers.get("traceparent", "") for one in keys.traffic.seen(method="POST")]
    assert {f"00-{TRACE}-{one.id}-01" for one in called} <= set(passed)
    bodies = b"".join(one.body for one in collector.traffic.seen(path=TRACES))
    assert secured.system.encode() not in bodies
    assert b"signature" not in bodies.lower()
    assert not [identity for identity in secured.objects.values() if identity.encode() in bodies]


def roots_of_trace(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.trace == TRACE and span.parent == CALLER]


def test_failures_and_paths_that_there_are_not(secured: SecuredSite, collector: Collector) -> None:
    keys = secured.keys
    assert isinstance(keys, FakeEgo)
    secured.call("GET", f"/nowhere/{OBJECT}", traceparent=PARENT)
    secured.call("PURGE", "/profile", traceparent=PARENT)
    secured.call("GET", "/ready", traceparent=PARENT)
    keys.traffic.inject(Answer(500, b"{}"), times=None)
    status = secured.call("GET", f"/upload/{OBJECT}", secured.make_key("score.WRITE"), traceparent=PARENT).status
    assert status >= 500
    spans = roots_of_trace(collector.wait_until(lambda spans: any("/upload" in one.name for one in spans)))
    assert [span.name for span in spans] == ["GET", "_OTHER /profile", "GET /upload/{object_id}"], "and no probe"
    unmatched, other, failed = spans
    assert "http.route" not in unmatched.attributes
    assert other.attributes["http.request.method"] == "_OTHER"
    assert not unmatched.failed
    assert failed.failed
    assert failed.attributes["error.type"] == str(status)
    (asked,) = children(collector.spans, failed).values()
    assert (asked.name, asked.failed) == ("authorization identify", True)
    assert asked.attributes.keys() == {"peer.service", "error.type"}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "garbage",
        PARENT + "-more",
        PARENT.upper(),
        f"00-{'0' * 32}-{CALLER}-01",
        f"{PARENT}, {PARENT}",
        "0" * 9000,
    ],
)
def test_a_parent_that_is_none_begins_a_trace(secured: SecuredSite, collector: Collector, given: str) -> None:
    assert secured.call("GET", "/profile", traceparent=given, tracestate="=,;" * 1000).status == 200
    (span,) = collector.wait_until(lambda spans: bool(roots(spans, "GET /profile")))
    assert (span.parent, span.trace == TRACE) == ("", False)


def test_two_parents_are_none(secured: SecuredSite, collector: Collector) -> None:
    twice = urllib3.HTTPHeaderDict([("traceparent", PARENT), ("traceparent", PARENT)])
    assert secured.http.request("GET", f"{secured.url}/profile", headers=twice).status == 200
    (span,) = collector.wait_until(lambda spans: bool(roots(spans, "GET /profile")))
    assert span.parent == ""


def test_how_many_are_taken(tmp_path: Path, collector: Collector, http: urllib3.PoolManager) -> None:
    """As the caller decided, where it did; the word is passed on."""
    with local_site(tmp_path, **to(collector, otel_traces_sampler="parentbased_always_off")) as site:
        http.request("GET", f"{site.server.url}/profile", headers={"traceparent": PARENT[:-1] + "0"})
        http.request("GET", f"{site.server.url}/profile")
        http.request("GET", f"{site.server.url}/upload/{OBJECT}", headers={"traceparent": PARENT})
        assert site.server.stop() == 0
    assert [span.name for span in roots_of_trace(collector.spans)] == ["GET /upload/{object_id}"]
    assert {span.trace for span in collector.spans} == {TRACE}


def test_a_collector_that_is_away(tmp_path: Path, collector: Collector, http: urllib3.PoolManager) -> None:
    """It is one warning, without what a URL may have of secrets, and a line when it is back."""
    token = secret("of-the-collector-1")
    endpoint = collector.url.replace("//", f"//user:{token}@")
    collector.shut()
    server = Server(tmp_path, {name.replace("_", "."): value for name, value in to(collector).items()})
    given = {"otel_exporter_otlp_traces_endpoint": f"{endpoint}{TRACES}?key={token}"}
    server.start(otel_exporter_otlp_headers=f"k={token}", **given)
    try:
        while "cannot be reached" not in server.output:
            assert http.request("GET", f"{server.url}/profile").status == 200
        collector.open()
        collector.traffic.inject(Answer(401, b""), times=3)
        while "takes spans again" not in server.output:
            assert http.request("GET", f"{server.url}/profile").status == 200
    finally:
        status = server.stop()
    assert status == 0
    said = [line for line in server.output.splitlines() if "WARNING" in line or "ERROR" in line]
    assert len(said) == 1
    assert f"at {collector.url} cannot be reached" in said[0]


def test_a_collector_that_refuses(tmp_path: Path, collector: Collector, http: urllib3.PoolManager) -> None:
    collector.traffic.inject(Answer(401, b"no"), times=None)
    with local_site(tmp_path, **to(collector)) as site:
        while " answers 401. " not in site.server.output:
            http.request("GET", f"{site.server.url}/profile")


def test_the_end_does_not_wait_for_a_collector_that_is_silent(tmp_path: Path, collector: Collector) -> None:
    gate = collector.traffic.hold(path=TRACES)
    with local_site(tmp_path, **to(collector, otel_exporter_otlp_timeout="600")) as site:
        gate.wait_for_arrival()
        assert site.server.stop() == 0, "before it would be killed"
        assert "did not take the last spans" in site.server.output


def test_the_end_does_not_wait_for_a_collector_that_was_away(
    tmp_path: Path, collector: Collector, http: urllib3.PoolManager
) -> None:
    collector.traffic.inject(Answer(401, b""), path=TRACES)
    collector.traffic.inject(Answer(503, b"", {"Retry-After": "60"}), path=TRACES, times=None)
    with local_site(tmp_path, **to(collector, otel_exporter_otlp_timeout="600")) as site:
        while not collector.traffic.seen(path=TRACES, status=503):
            http.request("GET", f"{site.server.url}/profile")
        assert site.server.stop() == 0
        assert "did not take the last spans" not in site.server.output


def test_the_last_spans_are_sent(tmp_path: Path, collector: Collector, http: urllib3.PoolManager) -> None:
    with local_site(tmp_path, **to(collector, otel_bsp_schedule_delay="600000")) as site:
        http.request("GET", f"{site.server.url}/profile", headers={"traceparent": PARENT})
        assert not collector.spans
        assert site.server.stop() == 0
    assert [span.name for span in roots_of_trace(collector.spans)] == ["GET /profile"]


def test_the_web_framework_sends_no_spans_of_its_own(
    secured: SecuredSite, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would have paths and queries; a provider that is global for the process is all that they need."""
    exported = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    secured.call("GET", "/store/object/data/x?signature=0123456789abcdef", traceparent=PARENT)
    secured.call("GET", f"/download/{OBJECT}?offset=wrong")
    assert collector.wait_until(lambda spans: bool(roots(spans, "GET /download/{object_id}")))
    assert exported.get_finished_spans() == ()


def serve(folder: Path, before: str, *arguments: str, **settings: str) -> Program:
    """A server that runs ``before`` first."""
    code = (
        f"import sys\n{before}\nfrom score.server.main import main\nsys.exit(main({['--server.port=0', *arguments]}))"
    )
    return Program([sys.executable, "-c", code], folder, clean_environment(folder, settings))


@pytest.mark.parametrize("enabled", ["false", "true"])
def test_it_costs_nothing_where_it_is_off(tmp_path: Path, collector: Collector, enabled: str) -> None:
    before = "import atexit\natexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    settings = {"otel.exporter.otlp.endpoint": collector.url}
    with serve(tmp_path, before, f"--management.tracing.enabled={enabled}", **settings) as server:
        server.wait_until(lambda: "Access:" in server.stdout)
        assert server.terminate() == 0
        loaded = {name.partition(".")[0] for name in server.stderr.split()}
        assert "fastapi" in loaded
        assert ("requests" in loaded) is (enabled == "true")
        assert ("opentelemetry.sdk" in server.stderr) is (enabled == "true"), "FastAPI has the API without the SDK"
        assert ("score.server.tracing" in server.stderr) is (enabled == "true")


def test_packages_that_are_missing(tmp_path: Path) -> None:
    hidden = "sys.modules['opentelemetry.sdk'] = sys.modules['opentelemetry.exporter'] = None"
    with serve(tmp_path, hidden, "--management.tracing.enabled=true") as server:
        assert server.wait() == 1
        assert "management.tracing.enabled needs packages that are not installed" in server.stderr
        assert "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http" in server.stderr
    with serve(tmp_path, hidden) as server:
        server.wait_until(lambda: "Access:" in server.stdout)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("otel.exporter.otlp.endpoint", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT has to be"),
        ("otel.exporter.otlp.endpoint", "http://[", "Check the variables OTEL_*"),
        ("otel.bsp.max.queue.size", "1", "Check the variables OTEL_*"),
    ],
)
def test_variables_that_cannot_be(tmp_path: Path, name: str, value: str, said: str) -> None:
    with serve(tmp_path, "", "--management.tracing.enabled=true", **{name: value}) as server:
        assert server.wait() == 1
        assert said in server.stderr
        assert "Traceback" not in server.stderr

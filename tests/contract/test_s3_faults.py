"""The S3 store where the way to MinIO is bad, the settings are wrong, or the call is an unusual one."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from score.errors import AlreadyExists, Refused
from score.protocol.parts import Span
from score.storage.base import ObjectStore, StoredPart, stored_part
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import open_stores
from score.testing.aws_metadata import AwsMetadata
from score.testing.faults import LoseResponse
from score.testing.proxy import FaultProxy
from score.testing.s3_contract import BotoAside, opened, role
from score.testing.store_contract import MINUTE, Run, Web, collect, md5, plan

if TYPE_CHECKING:
    from score.testing.minio import Minio

pytestmark = pytest.mark.needs("minio")


@pytest.fixture(scope="module")
def aside(minio: Minio) -> Iterator[BotoAside]:
    aside = BotoAside(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))
    yield aside
    aside.s3.close()


@pytest.fixture
def proxy(minio: Minio) -> Iterator[FaultProxy]:
    with FaultProxy(minio.endpoint) as proxy:
        yield proxy


@pytest.fixture
def settings(minio: Minio, proxy: FaultProxy) -> S3Settings:
    return S3Settings(proxy.url, minio.access_key, minio.secret_key, retry_limit=3)


@pytest.fixture
def store(settings: S3Settings, aside: BotoAside, run: Run) -> Iterator[ObjectStore]:
    with opened(settings, aside.bucket, run) as store:
        yield store


def test_a_completion_whose_answer_is_lost(
    run: Run, store: ObjectStore, aside: BotoAside, proxy: FaultProxy, web: Web
) -> None:
    """The repeated call gets 404 from MinIO: the object is the proof."""
    upload = run(store.begin("data/lost"))
    (url,) = store.sign_parts("data/lost", upload, plan(5), MINUTE)
    part = StoredPart(1, 5, web.send(url, b"12345"))
    proxy.traffic.inject(LoseResponse(), method="POST", times=1)
    assert run(store.complete("data/lost", upload, [part])).size == 5
    assert aside.get("data/lost") == b"12345"


def test_an_object_that_comes_between_the_look_and_the_completion_is_not_replaced(
    run: Run, store: ObjectStore, aside: BotoAside, proxy: FaultProxy, web: Web
) -> None:
    """Before it is known that the store keeps to conditions there is such a look."""

    async def late(part: StoredPart) -> None:
        gate = proxy.traffic.hold(method="POST")
        completing = asyncio.create_task(store.complete("data/late", upload, [part], False))
        await asyncio.to_thread(gate.wait_for_arrival)
        await asyncio.to_thread(aside.put, "data/late", b"first")
        gate.open()
        await completing

    upload = run(store.begin("data/late"))
    (url,) = store.sign_parts("data/late", upload, plan(5), MINUTE)
    part = StoredPart(1, 5, web.send(url, b"other"))
    with pytest.raises(AlreadyExists):
        run(late(part))
    assert aside.get("data/late") == b"first"


def test_a_completion_that_replaces_nothing_and_whose_answer_is_lost(
    run: Run, store: ObjectStore, aside: BotoAside, proxy: FaultProxy, web: Web
) -> None:
    """MinIO looks at the object before the upload: its own is in the way then."""
    upload = run(store.begin("data/lost-too"))
    (url,) = store.sign_parts("data/lost-too", upload, plan(5), MINUTE)
    part = StoredPart(1, 5, web.send(url, b"12345"))
    proxy.traffic.inject(LoseResponse(), method="POST", times=1)
    assert run(store.complete("data/lost-too", upload, [part], False)).size == 5
    assert [exchange.status for exchange in proxy.traffic.seen(method="POST")][-1] == 412
    assert aside.get("data/lost-too") == b"12345"


def test_minio_keeps_to_conditions_and_nothing_is_looked_for_once_that_is_known(
    run: Run, store: ObjectStore, proxy: FaultProxy, web: Web
) -> None:
    for key in ("data/one", "data/two"):
        upload = run(store.begin(key))
        (url,) = store.sign_parts(key, upload, plan(5), MINUTE)
        part = StoredPart(1, 5, web.send(url, b"12345"))
        proxy.traffic.forget()
        assert run(store.complete(key, upload, [part], False)).size == 5
    assert [(exchange.method, exchange.status) for exchange in proxy.traffic.seen()] == [("POST", 200), ("HEAD", 200)]


def test_answers_that_are_lost(run: Run, store: ObjectStore, aside: BotoAside, proxy: FaultProxy) -> None:
    proxy.traffic.inject(LoseResponse(), method="PUT", times=2)
    run(store.put("data/state", b"state"))
    assert aside.get("data/state") == b"state"
    upload = run(store.begin("data/aborted"))
    proxy.traffic.inject(LoseResponse(), method="DELETE", query="uploadId", times=3)
    run(store.abort("data/aborted", upload))
    proxy.traffic.inject(LoseResponse(), method="DELETE", times=3)
    run(store.delete("data/state"))
    proxy.traffic.inject(LoseResponse(), method="POST", query="delete", times=1)
    run(store.delete("data/state", "data/other"))
    assert run(store.stat("data/state")) is None


def test_the_cost_of_a_part_does_not_grow(
    run: Run, store: ObjectStore, settings: S3Settings, aside: BotoAside, proxy: FaultProxy, web: Web
) -> None:
    """Two listings at most for each part, in whatever order they come, and no more for a server that comes later."""
    key, many = "data/parts", 120
    upload = run(store.begin(key))
    urls = store.sign_parts(key, upload, plan(*[1] * many), MINUTE)
    numbers = list(range(1, many + 1))
    random.Random(7).shuffle(numbers)
    proxy.traffic.forget()
    for number in numbers:
        etag = web.send(urls[number - 1], b"x")
        assert run(stored_part(store, key, upload, number)) == StoredPart(number, 1, etag)
    listings = [exchange for exchange in proxy.traffic.seen(method="GET") if "max-parts" in exchange.query]
    assert len(listings) <= 2 * many
    with opened(settings, aside.bucket, run) as later:
        proxy.traffic.forget()
        for number in reversed(numbers):
            assert run(stored_part(later, key, upload, number)) is not None
        assert len(proxy.traffic.seen(method="GET")) == many


def test_many_calls_at_once(run: Run, store: ObjectStore) -> None:
    async def all_at_once() -> list[bytes]:
        await asyncio.gather(*(store.put(f"data/many/{n}", b"%d" % n) for n in range(300)))
        return await asyncio.gather(*(store.get(f"data/many/{n}") for n in range(300)))

    assert run(all_at_once()) == [b"%d" % n for n in range(300)]


def test_buckets_share_one_client(run: Run, settings: S3Settings, aside: BotoAside) -> None:
    stores = open_stores(settings, [aside.bucket, "not-there"])

    async def work() -> None:
        await stores[aside.bucket].put("data/shared", b"1")
        await stores["not-there"].close()
        # Closing gives connections back; it does not end a store that is used on.
        assert await stores[aside.bucket].get("data/shared") == b"1"
        await stores[aside.bucket].close()

    run(work())


def test_urls_are_signed_for_the_host_that_clients_use(
    run: Run, settings: S3Settings, minio: Minio, aside: BotoAside, proxy: FaultProxy, web: Web
) -> None:
    aside.put("data/elsewhere", b"0123456789")
    for host in (proxy.url, proxy.url.removeprefix("http://")):
        given = replace(settings, endpoint=minio.endpoint, url_host=host)
        with opened(given, aside.bucket, run) as store:
            proxy.traffic.forget()
            upload = run(store.begin("data/elsewhere"))
            assert not proxy.traffic.seen()
            (part,) = store.sign_parts("data/elsewhere", upload, plan(3), MINUTE)
            whole, some = store.sign_gets("data/elsewhere", [None, Span(2, 3)], MINUTE)
            assert web.send(part, b"new") == md5(b"new")
            assert web.get(whole).data == b"0123456789"
            assert web.get(some, "bytes=2-4").data == b"234"
            assert len(proxy.traffic.seen()) == 3
            run(store.abort("data/elsewhere", upload))


def test_temporary_keys(run: Run, settings: S3Settings, minio: Minio, aside: BotoAside, web: Web) -> None:
    keys = role(minio, DurationSeconds=900)
    given = replace(
        settings,
        access_key=keys["AccessKeyId"],
        secret_key=keys["SecretAccessKey"],
        session_token=keys["SessionToken"],
    )
    with opened(given, aside.bucket, run) as store:
        run(store.put("data/temporary", b"by temporary keys"))
        urls = store.sign_gets("data/temporary", [None, Span(0, 2)], MINUTE)
        assert web.get(urls[0]).data == b"by temporary keys"
        assert web.get(urls[1], "bytes=0-1").data == b"by"
        upload = run(store.begin("data/temporary"))
        (url,) = store.sign_parts("data/temporary", upload, plan(4), MINUTE)
        assert web.send(url, b"part") == md5(b"part")
        run(store.abort("data/temporary", upload))


def test_keys_of_an_instance(
    run: Run, settings: S3Settings, minio: Minio, aside: BotoAside, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No keys in the settings: those of a role, which the store knows too; no URL outlives them."""
    keys = role(minio, DurationSeconds=3600)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with AwsMetadata() as metadata:
        for name, value in metadata.instance.items():
            monkeypatch.setenv(name, value)
        life = keys["Expiration"] - datetime.now(UTC)
        metadata.give(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], life)
        for version in (4, 2):
            given = replace(settings, access_key="", secret_key="", version=version)
            with opened(given, aside.bucket, run) as store:
                run(store.put("data/by-role", b"by the keys of a role"))
                (url,) = store.sign_gets("data/by-role", [None], timedelta(days=6))
                if version == 4:  # MinIO does not take session tokens in URLs of version 2
                    assert web.get(url).data == b"by the keys of a role"
                query = parse_qs(urlsplit(url).query)
                end = int(query["Expires"][0]) if version == 2 else time.time() + int(query["X-Amz-Expires"][0])
                assert end <= keys["Expiration"].timestamp() + 5


def test_the_environment_names_a_proxy(
    run: Run, settings: S3Settings, aside: BotoAside, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://user:word@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with opened(replace(settings, endpoint="http://store.example.org"), aside.bucket, run) as store:
        run(store.put("data/by-proxy", b"1"))
    (passed,) = proxy.traffic.seen(method="PUT")
    assert passed.headers["proxy-authorization"].startswith("Basic ")
    proxy.traffic.forget()
    with opened(settings, aside.bucket, run) as store:
        run(store.put("data/by-proxy", b"2"))
    assert "proxy-authorization" not in proxy.traffic.seen(method="PUT")[0].headers


def test_user_metadata(run: Run, store: ObjectStore, aside: BotoAside) -> None:
    aside.put("data/by-others", b"1", Metadata={"md5chksum": "CY9rzUYh03PK3k6DJie09g==", "Other": "x"})
    stat = run(store.stat("data/by-others"))
    assert stat is not None
    assert stat.metadata == {"md5chksum": "CY9rzUYh03PK3k6DJie09g==", "other": "x"}


def test_bytes_are_given_as_they_are_stored(run: Run, store: ObjectStore, aside: BotoAside) -> None:
    aside.put("data/packed", b"\x1f\x8b not really", ContentEncoding="gzip")
    assert run(store.get("data/packed")) == b"\x1f\x8b not really"
    assert run(store.read("data/packed", Span(0, 2))) == b"\x1f\x8b"


def test_wrong_settings_are_named(run: Run, settings: S3Settings, aside: BotoAside) -> None:
    for given, name, said in [
        (replace(settings, secret_key="wrong"), aside.bucket, "s3.secretKey"),
        (replace(settings, access_key="wrong"), aside.bucket, "s3.accessKey"),
        (settings, "not-there", "Create the bucket"),
        (replace(settings, endpoint="http://127.0.0.1:9"), aside.bucket, "refused"),
    ]:
        with opened(given, name, run) as store:
            probe = run(store.probe())
            assert not probe.ok
            assert said in probe.problem


def test_a_wrong_clock_is_named(run: Run, settings: S3Settings, aside: BotoAside) -> None:
    with opened(settings, aside.bucket, run, lambda: datetime.now(UTC) - timedelta(hours=1)) as store:
        with pytest.raises(Refused, match=r"RequestTimeTooSkewed.*clock"):
            run(store.get("data/anything"))
        with pytest.raises(Refused, match="clock"):
            run(store.stat("data/anything"))
    with opened(settings, aside.bucket, run, lambda: datetime.now(UTC) - timedelta(minutes=10)) as store:
        probe = run(store.probe())
        assert probe.ok
        assert probe.clock_skew == pytest.approx(600, abs=30)


def test_a_store_that_goes_away_and_comes_back(run: Run, web: Web) -> None:
    from score.testing.minio import running_minio

    with running_minio() as own:
        aside = BotoAside(S3Settings(own.endpoint, own.access_key, own.secret_key))
        with opened(
            S3Settings(own.endpoint, own.access_key, own.secret_key, retry_limit=1), aside.bucket, run
        ) as store:
            upload = run(store.begin("data/crash"))
            (url,) = store.sign_parts("data/crash", upload, plan(5), MINUTE)
            part = StoredPart(1, 5, web.send(url, b"12345"))
            own.kill()
            assert not run(store.probe()).ok
            own.restart()
            assert run(store.probe()).ok
            assert run(collect(store.stored_parts("data/crash", upload))) == [part]
            assert run(store.complete("data/crash", upload, [part])).size == 5
        aside.s3.close()

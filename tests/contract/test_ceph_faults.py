"""The S3 store where Ceph is busy, full, slow or gone for a while."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from score.errors import Refused, Unavailable
from score.storage.base import StoredPart
from score.storage.s3.settings import S3Settings
from score.testing.ceph import running_ceph
from score.testing.faults import CutResponse, LoseResponse
from score.testing.proxy import FaultProxy
from score.testing.s3_contract import BotoAside, opened
from score.testing.store_contract import MINUTE, Run, Web, collect, plan

if TYPE_CHECKING:
    from score.testing.ceph import Ceph

pytestmark = pytest.mark.needs("ceph")


def settings_of(ceph: Ceph) -> S3Settings:
    return S3Settings(ceph.endpoint, ceph.access_key, ceph.secret_key, retry_limit=3)


@pytest.fixture(scope="module")
def own() -> Iterator[Ceph]:
    """A Ceph that may be killed."""
    with running_ceph() as ceph:
        yield ceph


@contextmanager
def bucket(settings: S3Settings) -> Iterator[BotoAside]:
    aside = BotoAside(settings)
    try:
        yield aside
    finally:
        aside.s3.close()


@pytest.mark.parametrize("version", [4, 2])
@pytest.mark.parametrize("fault", [LoseResponse(), CutResponse(30)], ids=["lost", "cut"])
def test_a_completion_whose_answer_is_lost(
    run: Run, ceph: Ceph, web: Web, fault: LoseResponse | CutResponse, version: Any
) -> None:
    """The repeated call is answered 200 by Ceph; the object is the proof, as everywhere."""
    settings = settings_of(ceph)
    with bucket(settings) as aside, FaultProxy(ceph.endpoint) as proxy:
        through = replace(settings, endpoint=proxy.url, version=version)
        with opened(through, aside.bucket, run) as store:
            upload = run(store.begin("data/lost"))
            (url,) = store.sign_parts("data/lost", upload, plan(5), MINUTE)
            part = StoredPart(1, 5, web.send(url, b"12345"))
            proxy.traffic.inject(fault, method="POST", times=1)
            assert run(store.complete("data/lost", upload, [part])).size == 5
            assert len(proxy.traffic.seen(method="POST", query="uploadId")) == 2
        assert aside.get("data/lost") == b"12345"


def test_a_gateway_that_is_busy(run: Run) -> None:
    """Two requests at once are all that it takes; the rest is told to slow down, and comes again."""

    async def at_once(work: list[Coroutine[Any, Any, None]]) -> list[BaseException | None]:
        return await asyncio.gather(*work, return_exceptions=True)

    with running_ceph({"rgw scheduler type": "throttler", "rgw max concurrent requests": "2"}) as busy:
        settings = settings_of(busy)
        with bucket(settings) as aside:
            with opened(replace(settings, retry_limit=0), aside.bucket, run) as store:
                ends = run(at_once([store.put(f"data/{number}", b"x" * 100_000) for number in range(60)]))
                refused = [end for end in ends if end is not None]
                assert refused
                assert all(isinstance(end, Unavailable) and "SlowDown" in str(end) for end in refused)
            with opened(replace(settings, retry_limit=50), aside.bucket, run) as store:
                ends = run(at_once([store.put(f"data/{number}", b"y" * 100_000) for number in range(60)]))
                assert not [end for end in ends if end is not None]
            assert len(aside.keys("data/")) == 60


def test_a_quota_that_is_full(run: Run, ceph: Ceph, web: Web) -> None:
    """It will not pass by trying again, and says what to do."""
    settings = settings_of(ceph)
    with bucket(settings) as aside, opened(settings, aside.bucket, run) as store:
        upload = run(store.begin("data/too-much"))
        (url,) = store.sign_parts("data/too-much", upload, plan(5_000_000), MINUTE)
        with ceph.quota(4096):
            with pytest.raises(Refused, match=r"QuotaExceeded.*quota"):
                run(store.put("data/state", b"x" * 100_000))
            answer = web.put(url, b"x" * 5_000_000)
            assert answer.status == 403
            assert b"QuotaExceeded" in answer.data
        run(store.abort("data/too-much", upload))


@pytest.mark.parametrize("version", [4, 2])
def test_a_wrong_clock_is_named(run: Run, ceph: Ceph, version: Any) -> None:
    settings = replace(settings_of(ceph), version=version)
    with bucket(settings) as aside:
        late = lambda: datetime.now(UTC) - timedelta(hours=1)  # noqa: E731
        with opened(settings, aside.bucket, run, late) as store:
            with pytest.raises(Refused, match="clock"):
                run(store.get("data/anything"))
            with pytest.raises(Refused, match="clock"):
                run(store.stat("data/anything"))
            assert not run(store.probe()).ok


def test_storage_that_hangs(run: Run, own: Ceph) -> None:
    """Every call ends, as one that may pass; afterwards all goes on."""
    settings = settings_of(own)
    with bucket(settings) as aside:
        aside.put("data/there", b"1")
        short = replace(settings, read_timeout=0.5, retry_limit=1)
        with opened(short, aside.bucket, run) as store, own.storage_hangs():
            with pytest.raises(Unavailable, match="in time"):
                run(store.put("data/state", b"state"))
            with pytest.raises(Unavailable, match="in time"):
                run(store.stat("data/there"))
        with opened(settings, aside.bucket, run) as store:
            run(store.put("data/state", b"state"))
            assert run(store.get("data/there")) == b"1"


def test_a_gateway_that_crashes_amid_an_upload(run: Run, own: Ceph, web: Web) -> None:
    settings = settings_of(own)
    key = f"data/{uuid.uuid4()}"
    with bucket(settings) as aside, opened(settings, aside.bucket, run) as store:
        upload = run(store.begin(key))
        urls = store.sign_parts(key, upload, plan(5 * 1024**2, 5), MINUTE)
        first = StoredPart(1, 5 * 1024**2, web.send(urls[0], b"x" * 5 * 1024**2))
        own.kill_gateway()
        probe = run(store.probe())
        assert not probe.ok
        own.restart_gateway()
        assert run(collect(store.stored_parts(key, upload))) == [first]
        second = StoredPart(2, 5, web.send(urls[1], b"12345"))
        assert run(store.complete(key, upload, [first, second])).size == 5 * 1024**2 + 5

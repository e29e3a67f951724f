"""The Azure store against Azurite."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import AccessPolicy, ContainerClient, ContainerSasPermissions, ContentSettings

from score.errors import Conflict
from score.protocol.parts import Span
from score.storage.azure.client import AzureClient
from score.storage.azure.settings import AzureSettings
from score.storage.azure.store import AzureStore
from score.storage.azure.xml import build_block_list
from score.storage.base import Block, Blocks, ObjectStore, Probe, StoredPart, stored_part
from score.testing.store_contract import MINUTE, Aside, Run, Web, collect, md5, plan
from score.testing.store_ground import NO_UPLOAD, noise
from score.testing.store_objects import ObjectContract

if TYPE_CHECKING:
    from score.testing.azurite import Azurite

pytestmark = pytest.mark.needs("azurite")


class SdkAside:
    """A container by Azure's own library."""

    def __init__(self, azurite: Azurite) -> None:
        self.container = ContainerClient(
            azurite.endpoint,
            f"contract-{uuid.uuid4()}",
            credential={"account_name": azurite.account, "account_key": azurite.key},
        )
        self.container.create_container()
        self.set_policies()

    def set_policies(self, **more: datetime) -> None:
        self.container.set_container_access_policy(
            {
                "UploadPolicy": AccessPolicy(ContainerSasPermissions(create=True, write=True), **more),
                "DownloadPolicy": AccessPolicy(ContainerSasPermissions(read=True), **more),
            }
        )

    def put(self, key: str, data: bytes, **more: Any) -> None:
        self.container.upload_blob(key, data, overwrite=True, **more)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self.container.download_blob(key).readall())
        except ResourceNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self.container.delete_blob(key)

    def keys(self, prefix: str = "") -> list[str]:
        return [blob.name for blob in self.container.list_blobs(prefix)]


class TestAzureOnAzurite(ObjectContract):
    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, azurite: Azurite, aside: SdkAside) -> AzureSettings:
        return AzureSettings(azurite.account, azurite.key, aside.container.container_name, endpoint=azurite.endpoint)

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, azurite: Azurite) -> Iterator[SdkAside]:
        aside = SdkAside(azurite)
        yield aside
        aside.container.close()

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, run: Run, settings: AzureSettings) -> Iterator[ObjectStore]:
        store = AzureStore(AzureClient(settings))
        yield store
        run(store.close())

    @pytest.fixture(scope="class")
    @classmethod
    def late_store(cls, run: Run, settings: AzureSettings) -> Iterator[ObjectStore]:
        store = AzureStore(AzureClient(settings, clock=lambda: datetime.now(UTC) - timedelta(minutes=10)))
        yield store
        run(store.close())

    # What no URL of Azure can do

    def test_a_span_works_with_its_range_only(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        """A range cannot be bound to a URL: all spans share one, and 10,000 of them cost one signature."""
        data = noise(100)
        aside.put(key, data)
        spans = [Span(0, 50), Span(50, 49), Span(99, 1), Span(0, 100)]
        urls = store.sign_gets(key, spans, MINUTE)
        assert len(set(urls)) == 1
        for span, url in zip(spans, urls, strict=True):
            answer = web.get(url, span.http_range)
            assert answer.status == 206
            assert answer.data == data[span.offset : span.end]
            assert answer.headers["Content-Range"] == f"bytes {span.offset}-{span.end - 1}/100"
        assert len(store.sign_gets(key, spans * 2500, MINUTE)) == 10_000

    def test_a_url_without_span_works_with_any_range(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        """But for ranges from the end, which are none of Azure's."""
        aside.put(key, b"0123456789")
        (url,) = store.sign_gets(key, [None], MINUTE)
        assert (web.get(url).status, web.get(url).data) == (200, b"0123456789")
        for wanted, status, data in [
            ("bytes=2-4", 206, b"234"),
            ("bytes=7-", 206, b"789"),
            ("bytes=8-99", 206, b"89"),
        ]:
            answer = web.get(url, wanted)
            assert (answer.status, answer.data) == (status, data)
        assert web.get(url, "bytes=50-").status == 416

    def test_a_url_to_read_does_nothing_else(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        aside.put(key, b"secret")
        other = f"data/{uuid.uuid4()}"
        aside.put(other, b"another secret")
        (url,) = store.sign_gets(key, [None], MINUTE)
        assert web.get(url.replace("sig=", "sig=A")).status == 403
        assert web.get(url.replace(key, other)).status == 403
        assert web.get(url.partition("?")[0]).status in (400, 403)
        assert put_block(web, url, "AAAA", b"overwritten").status == 403
        assert commit(web, url, "AAAA").status == 403
        assert aside.get(key) == b"secret"

    def test_a_url_expires(
        self, run: Run, store: ObjectStore, late_store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        """The emulator does not look at the time in a URL made by a policy, so what the URL says is looked at; and a
        policy that has expired ends all its URLs."""
        assert isinstance(aside, SdkAside)
        aside.put(key, b"secret")
        (url,) = late_store.sign_gets(key, [None], MINUTE)
        query = parse_qs(urlsplit(url).query)
        assert datetime.fromisoformat(query["se"][0]) < datetime.now(UTC) - 8 * MINUTE
        assert datetime.now(UTC) - datetime.fromisoformat(query["st"][0]) > 24 * MINUTE
        assert "sp" not in query
        try:
            aside.set_policies(expiry=datetime.now(UTC) - MINUTE, start=datetime.now(UTC) - 9 * MINUTE)
            assert web.get(url).status == 403
            probe = run(store.probe())
            assert not probe.ok
            assert "'DownloadPolicy' (bucket.policy.download)" in probe.problem
            assert "expired" in probe.problem
            (url,) = store.sign_gets(key, [None], MINUTE)
            assert not {"se", "st", "sp"} & parse_qs(urlsplit(url).query).keys()  # the policy says them
        finally:
            aside.set_policies()
            assert run(store.probe()).ok

    # Blocks

    def test_blocks_are_put_listed_and_committed(
        self, run: Run, store: AzureStore, aside: Aside, web: Web, key: str
    ) -> None:
        upload = run(store.begin(key))
        urls = store.sign_parts(key, upload, plan(3, 4), MINUTE)
        assert run(store.blocks(key)) == Blocks([], [])
        for name, data in (("BBBB", b"4444"), ("AAAA", b"333")):
            assert put_block(web, urls[0], name, data).status == 201
        assert run(store.stat(key)) is None
        waiting = [StoredPart(1, 3, "AAAA"), StoredPart(2, 4, "BBBB")]
        assert run(collect(store.stored_parts(key, upload))) == waiting
        assert run(stored_part(store, key, upload, 2)) == waiting[1]
        assert run(stored_part(store, key, upload, 3)) is None
        assert [found.key for found in run(collect(store.open_uploads()))] == [key]
        assert commit(web, urls[1], "AAAA", "BBBB").status == 201
        assert run(store.blocks(key)) == Blocks([Block("AAAA", 3), Block("BBBB", 4)], [])
        assert aside.get(key) == b"3334444"
        assert run(collect(store.open_uploads())) == []

    def test_the_server_can_commit_too(self, run: Run, store: AzureStore, aside: Aside, web: Web, key: str) -> None:
        upload = run(store.begin(key))
        (url,) = store.sign_parts(key, upload, plan(3), MINUTE)
        put_block(web, url, "AAAA", b"333")
        parts = run(collect(store.stored_parts(key, upload)))
        first = run(store.complete(key, upload, parts))
        assert aside.get(key) == b"333"
        again = run(store.complete(key, upload, parts))
        assert (again.size, again.metadata) == (first.size, first.metadata)
        with pytest.raises(Conflict):
            run(store.complete(key, upload, [StoredPart(1, 3, "CCCC")]))

    @pytest.mark.parametrize("before", ["nothing", "an object of blocks", "an object put whole"])
    def test_blocks_that_wait_are_dropped(
        self, run: Run, store: AzureStore, aside: Aside, web: Web, key: str, before: str
    ) -> None:
        (url,) = store.sign_parts(key, NO_UPLOAD, plan(3), MINUTE)
        if before == "an object of blocks":
            put_block(web, url, "AAAA", b"old")
            assert commit(web, url, "AAAA").status == 201
            old = run(store.stat(key))
            assert old is not None
            run(store.seal(old, md5(b"old")))
        elif before == "an object put whole":
            aside.put(key, b"old")
        put_block(web, url, "CCCC", b"new")
        run(store.abort(key, NO_UPLOAD))
        if before == "nothing":
            assert run(store.stat(key)) is None
            assert aside.keys(key) == []
        else:
            assert aside.get(key) == b"old"
            now = run(store.stat(key))
            assert now is not None
            assert now.content_md5 == base64.b64encode(hashlib.md5(b"old").digest()).decode()
        if before != "an object put whole":  # the emulator keeps them through a copy, as Azure does not
            assert run(store.blocks(key)).uncommitted == []
        run(store.abort(key, NO_UPLOAD))

    def test_an_object_is_sealed_as_it_was_seen(self, run: Run, store: AzureStore, aside: SdkAside, key: str) -> None:
        settings = ContentSettings(content_type="text/plain", content_language="en")
        aside.put(key, b"data", content_settings=settings, metadata={"kept": "this"})
        seen = run(store.stat(key))
        assert seen is not None
        sealed = run(store.seal(seen, md5(b"data")))
        properties = aside.container.get_blob_client(key).get_blob_properties()
        assert bytes(properties.content_settings.content_md5).hex() == md5(b"data")
        assert (properties.content_settings.content_type, properties.content_settings.content_language) == (
            "text/plain",
            "en",
        )
        assert sealed.metadata == {"kept": "this"}
        with pytest.raises(Conflict):
            run(store.seal(seen, md5(b"other")))


def put_block(web: Web, url: str, name: str, data: bytes) -> urllib3.BaseHTTPResponse:
    return web.put(f"{url}&comp=block&blockid={name}", data)


def commit(web: Web, url: str, *names: str) -> urllib3.BaseHTTPResponse:
    return web.put(f"{url}&comp=blocklist", build_block_list(names))


class TestWhatIsWrongIsNamed:
    """The operator is told what is missing."""

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"container": "nothing-here"}, "Create the container"),
            ({"account_key": "d3Jvbmc="}, "azure.accountKey"),
            ({"upload_policy": "Writing"}, "'Writing' (bucket.policy.upload)"),
            ({"download_policy": "UploadPolicy"}, "does not allow read"),
            ({"upload_policy": "DownloadPolicy"}, "does not allow write"),
            ({"endpoint": "http://127.0.0.1:1/x", "retry_limit": 0}, "connection to the store failed"),
        ],
    )
    def test_by_the_probe(self, azurite: Azurite, wrong: dict[str, Any], said: str) -> None:
        aside = SdkAside(azurite)
        settings = AzureSettings(
            azurite.account, azurite.key, aside.container.container_name, endpoint=azurite.endpoint
        )

        async def look() -> Probe:
            store = AzureStore(AzureClient(replace(settings, **wrong)))
            try:
                return await store.probe()
            finally:
                await store.close()

        probe = asyncio.run(look())
        aside.container.close()
        assert not probe.ok
        assert said in probe.problem
        assert azurite.key not in probe.problem

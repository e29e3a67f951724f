"""The Azure store where the way to the container is bad: what passes is waited for, what does not is told at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from score.errors import Conflict, Integrity, NotFound, Refused, ScoreError, Unavailable
from score.protocol.parts import Span
from score.storage.azure.client import AzureClient
from score.storage.azure.settings import AzureSettings
from score.storage.azure.store import AzureStore
from score.storage.base import PlannedPart, UploadId
from score.testing.faults import Answer, LoseResponse, Reset
from score.testing.proxy import FaultProxy

if TYPE_CHECKING:
    from score.testing.azurite import Azurite

pytestmark = pytest.mark.needs("azurite")

KEY = "5c0e0000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def proxy(azurite: Azurite) -> Iterator[FaultProxy]:
    with FaultProxy(azurite.origin) as proxy:
        yield proxy


@pytest.fixture
def use(proxy: FaultProxy, azurite: Azurite) -> Iterator[Callable[..., Any]]:
    """Runs a coroutine made of a store behind the proxy."""
    name = f"faults-{uuid.uuid4()}"
    azurite.create_container(name)
    endpoint = f"{proxy.url}/{azurite.account}"
    settings = AzureSettings(azurite.account, azurite.key, name, endpoint=endpoint, retry_limit=2)

    def run(work: Callable[[AzureStore], Coroutine[Any, Any, Any]]) -> Any:
        async def within() -> Any:
            store = AzureStore(AzureClient(settings))
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(within())

    yield run
    proxy.traffic.heal()
    proxy.traffic.forget()


@pytest.mark.parametrize(
    "fault",
    [
        Answer.s3(503, "ServerBusy", "The server is busy."),
        Answer.s3(500, "OperationTimedOut", "Operation could not be completed."),
        Answer.s3(409, "ContainerBeingDeleted", "The container is being deleted."),
        Reset(),
        LoseResponse(),
    ],
    ids=repr,
)
def test_what_passes_is_tried_again(use: Callable[..., Any], proxy: FaultProxy, fault: Any) -> None:
    proxy.traffic.inject(fault, method="PUT", path=KEY, times=2)
    use(lambda store: store.put(KEY, b"state"))
    assert use(lambda store: store.get(KEY)) == b"state"


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer.s3(503, "ServerBusy", "The server is busy."), Unavailable, "503 ServerBusy"),
        (Answer.s3(403, "AuthenticationFailed", "Server failed to authenticate."), Refused, "azure.accountKey"),
        (Answer.s3(403, "KeyBasedAuthenticationNotPermitted", "No."), Refused, "Allow access by account key"),
        (Answer.s3(404, "ContainerNotFound", "None."), Refused, "Create the container"),
        (Answer.s3(404, "BlobNotFound", "None."), NotFound, "404 BlobNotFound"),
        (Answer.s3(412, "ConditionNotMet", "Changed."), Conflict, "412"),
        (Answer.s3(409, "LeaseIdMissing", "Leased."), Conflict, "409"),
        (Answer(200, b"<html>It works!</html>"), Integrity, "not Azure's"),
        (Answer(302, b"", {"Location": "http://elsewhere/"}), Refused, "302"),
    ],
)
def test_what_does_not_pass_is_told(
    use: Callable[..., Any], proxy: FaultProxy, answer: Answer, error: type[ScoreError], said: str, azurite: Azurite
) -> None:
    proxy.traffic.inject(answer, path=KEY, times=None)
    with pytest.raises(error) as caught:
        use(lambda store: store.get(KEY))
    assert said in str(caught.value)
    assert azurite.key not in str(caught.value)
    assert "SharedKey" not in str(caught.value)
    assert len(proxy.traffic.seen(path=KEY)) == (3 if error is Unavailable else 1)


def test_blocks_that_are_dropped_half_way_leave_no_object(use: Callable[..., Any], proxy: FaultProxy) -> None:
    """Where there is no blob yet, an empty one takes the blocks along, and may be all that is left."""

    async def drop(store: AzureStore) -> None:
        await store.probe()  # which reads the policies that URLs are made by
        (url,) = store.sign_parts(KEY, UploadId("none"), [PlannedPart(1, Span(0, 3))], timedelta(minutes=5))
        put = f"{url}&comp=block&blockid=QUFBQQ%3D%3D"
        with urllib3.PoolManager(retries=False) as http:
            assert (await asyncio.to_thread(http.request, "PUT", put, body=b"abc")).status == 201
        proxy.traffic.inject(Answer.s3(500, "InternalError", "Sorry."), method="DELETE", path=KEY, times=None)
        with pytest.raises(Unavailable):
            await store.abort(KEY, UploadId("none"))
        proxy.traffic.heal()
        assert (await store.blocks(KEY)).uncommitted == []
        assert await store.stat(KEY) is None
        await store.put(KEY, b"")
        assert await store.stat(KEY) is not None, "an empty object that somebody put there is one"

    use(drop)


def test_a_missing_container_is_not_a_missing_object(proxy: FaultProxy, azurite: Azurite) -> None:
    settings = AzureSettings(azurite.account, azurite.key, "nothing-here", endpoint=azurite.endpoint)

    async def look() -> None:
        store = AzureStore(AzureClient(settings))
        try:
            for call in (store.stat(KEY), store.get(KEY), store.delete(KEY), store.blocks(KEY)):
                with pytest.raises(Refused, match="container"):
                    await call
        finally:
            await store.close()

    asyncio.run(look())

"""What the wire client makes of answers that the real Azure never gives."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress

import pytest

from score.errors import Integrity, Refused, ScoreError, Unavailable
from score.protocol.parts import MIB, Span
from score.storage.azure.client import AzureClient
from score.storage.azure.settings import AzureSettings
from score.storage.azure.store import AzureStore
from score.testing.secrecy import secret

KEY = secret(base64.b64encode(b"the key of an account").decode())
HEAD = b"HTTP/1.1 200 OK\r\nx-ms-version: 2021-12-02\r\ncontent-length: %d\r\n\r\n"


class Sending:
    """A server that sends ``size`` bytes whatever it is asked, and counts those that it got rid of; before that it
    ``holds`` the answer back, if it is to."""

    def __init__(self, size: int, holds: asyncio.Event | None = None) -> None:
        self.size, self.sent = size, 0
        self.holds = holds
        self.asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked.set()
            if self.holds is not None:
                await self.holds.wait()
            writer.write(HEAD % self.size)
            while self.sent < self.size:
                writer.write(b"x" * min(65536, self.size - self.sent))
                await writer.drain()
                self.sent += min(65536, self.size - self.sent)
        writer.close()

    async def store(self, **more: float) -> tuple[asyncio.Server, AzureStore]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/account"
        settings = AzureSettings("account", KEY, "container", endpoint, retry_limit=0, **more)  # type: ignore[arg-type]
        return server, AzureStore(AzureClient(settings))


def test_of_more_than_was_asked_for_not_everything_is_read() -> None:
    async def main() -> int:
        sending = Sending(256 * MIB)
        server, store = await sending.store()
        with pytest.raises(Integrity, match="more than 5 bytes"):
            await store.read("key", Span(0, 5))
        await store.close()
        server.close()
        await server.wait_closed()
        return sending.sent

    assert asyncio.run(main()) < 64 * MIB


def test_a_call_does_not_wait_for_its_turn_for_ever() -> None:
    async def main() -> ScoreError:
        sending = Sending(5, holds := asyncio.Event())
        server, store = await sending.store(connections=1, connect_timeout=0.05)
        first = asyncio.create_task(store.read("key", Span(0, 5)))
        await sending.asked.wait()
        with pytest.raises(Unavailable, match="in time") as caught:
            async with asyncio.timeout(20):
                await store.read("key", Span(0, 5))
        holds.set()
        with suppress(ScoreError):
            await first
        await store.close()
        server.close()
        await server.wait_closed()
        return caught.value

    asyncio.run(main())


def test_a_secure_connection_that_is_refused_says_why() -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes([21, 3, 3, 0, 2, 2, 80]))  # a fatal alert: internal_error
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(alert, "127.0.0.1", 0)
        endpoint = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/account"
        store = AzureStore(AzureClient(AzureSettings("account", KEY, "container", endpoint, retry_limit=0)))
        with pytest.raises(Refused, match="TLSV1_ALERT_INTERNAL_ERROR"):
            await store.get("key")
        await store.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())

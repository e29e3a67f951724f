"""A web application in a thread of its own, with scripted faults and a record of what it was asked."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

from score.testing.background import Background, settle
from score.testing.faults import Answer, Fault, Hold, LoseResponse, Reset, Traffic

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """An error answer of a fake, in its own words."""

    def response(self, request: web.Request) -> web.Response:
        """The answer."""
        raise NotImplementedError


class FakeService:
    """Base of the fakes: on a free loopback port, a context manager.

    ``traffic`` scripts faults (answers, resets, lost responses, gates) and holds the requests with their headers and
    bodies. Fakes are programmed by their methods, from any thread, also while they run. With ``tls``, set before they
    are started, they speak it.
    """

    tls: ssl.SSLContext | None = None

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._port = 0

    def routes(self) -> Iterable[web.RouteDef]:
        """What the service answers."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """``http://host:port``, or https."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._background = Background(type(self).__name__)
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.traffic.heal()
        self.shut()
        self._background.close()

    def open(self) -> None:
        """Listen, on the same port as before where there was one."""

        async def listen() -> None:
            application = web.Application(middlewares=[self._watch], client_max_size=64 * 1024 * 1024)
            application.add_routes(self.routes())
            self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self.tls).start()
            self._port = self._runner.addresses[0][1]

        self._background.run(listen())

    def shut(self) -> None:
        """Refuse connections from now on, and end those that are there."""

        async def stop() -> None:
            for site in list(self._runner.sites):
                await site.stop()
            await settle()
            for connection in self._runner.server.connections if self._runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()  # one whose last bytes nobody reads would stay open
            await self._runner.cleanup()
            await settle()

        self._background.run(stop())

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        exchange, fault = self.traffic.begin(request.method, request.path, request.query_string, headers)
        end = "client gone"
        try:
            exchange.body = await request.read()
            exchange.sent = len(exchange.body)
            response = await self._respond(request, handler, fault)
            exchange.status = response.status
            end = "answered" if fault is None or isinstance(fault, Hold) else "fault"
            return response
        except (ConnectionError, asyncio.CancelledError):
            end = "fault" if fault is not None else end
            raise
        finally:
            self.traffic.finish(exchange, end)

    async def _respond(self, request: web.Request, handler: Handler, fault: Fault | None) -> web.StreamResponse:
        match fault:
            case Answer(status, body, headers):
                return web.Response(status=status, body=body, headers=headers)
            case Reset():
                _reset(request)
            case Hold(gate, None):
                await gate.pass_through()
            case LoseResponse() | None:
                pass
            case _:
                raise TypeError(f"{type(fault).__name__} is a fault of the proxy, not of a service")
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = refusal.response(request)
        except web.HTTPException as unknown:
            response = web.Response(status=unknown.status, text=unknown.text)
        if isinstance(fault, LoseResponse):
            _reset(request)
        return response


def _reset(request: web.Request) -> None:
    """Reset the connection of a request. Raises ConnectionResetError, so that nothing more is done for it."""
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    raise ConnectionResetError("scripted fault")

"""Pre-signed URLs are renewed for all parts at once, and only when that can help."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from score.errors import Expired, NotFound, Refused, Unavailable
from score.protocol.wire import Part
from score.transfer.engine import Urls


def part(number: int, url: str | None) -> Part:
    return Part(part_number=number, part_size=1, offset=number, url=url)


class Server:
    """Gives out URLs of one generation; ``current`` is the one that the store takes."""

    def __init__(self, current: int = 0, end: int | None = None) -> None:
        self.current = current
        self.given = 0
        self.renewals = 0
        self.end = end

    def parts(self) -> list[Part]:
        expires = "" if self.end is None else f"?Expires={self.end}"
        return [part(number, f"http://store/{self.given}/{number}{expires}") for number in range(1, 7)]

    def renew(self) -> list[Part]:
        self.renewals += 1
        self.given = self.current
        return self.parts()

    def call(self, url: str) -> str:
        if url.split("/")[3] != str(self.current):
            raise Expired("the store answered 403: the URL has expired")
        return url


def test_a_good_url_is_used_as_it_is() -> None:
    server = Server()
    assert Urls(server.parts(), server.renew).use(3, server.call) == "http://store/0/3"
    assert server.renewals == 0


def test_an_expired_url_is_renewed_and_the_call_made_again() -> None:
    server = Server(current=1)
    assert Urls(server.parts(), server.renew).use(3, server.call) == "http://store/1/3"
    assert server.renewals == 1


def test_one_renewal_serves_every_part() -> None:
    server = Server(current=1)
    urls = Urls(server.parts(), server.renew)
    together = threading.Barrier(6)

    def call(number: int) -> Callable[[str], str]:
        def once(url: str) -> str:
            if "/0/" in url:
                together.wait(30)  # all six have the old URL in hand
            return server.call(url)

        return once

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda number: urls.use(number, call(number)), range(1, 7)))
    assert got == [f"http://store/1/{number}" for number in range(1, 7)]
    assert server.renewals == 1


def test_a_store_that_refuses_for_ever_ends_in_refused() -> None:
    server = Server(current=-1)
    calls: list[str] = []

    def refuse(url: str) -> None:
        calls.append(url)
        raise Expired("PUT http://store/x: the store answered 403 AccessDenied: the URL has expired")

    with pytest.raises(Refused, match=r"403 AccessDenied: .*; new URLs did not help") as caught:
        Urls(server.parts(), server.renew).use(1, refuse)
    assert "network" in caught.value.hint
    assert 2 <= len(calls) <= 4
    assert server.renewals < len(calls)


def test_a_url_that_is_about_to_end_is_renewed_before_it_is_used() -> None:
    server = Server(end=int(time.time()) + 5)
    urls = Urls(server.parts(), server.renew)
    assert urls.use(1, server.call)
    assert server.renewals == 1
    urls.use(2, server.call)  # the server gives out short-lived ones: they are not renewed for every call
    assert server.renewals == 1


def test_a_url_that_lasts_is_not_renewed() -> None:
    server = Server(end=int(time.time()) + 3600)
    Urls(server.parts(), server.renew).use(1, server.call)
    assert server.renewals == 0


def test_parts_without_urls_get_them() -> None:
    server = Server()
    urls = Urls([part(1, None), part(2, None)], server.renew)
    assert urls.use(1, server.call) == "http://store/0/1"
    assert urls.use(2, server.call) == "http://store/0/2"
    assert server.renewals == 1


def test_a_part_that_the_server_does_not_know_is_not_found() -> None:
    server = Server()
    with pytest.raises(NotFound, match="no URL for part 77"):
        Urls(server.parts(), server.renew).use(77, server.call)


def test_what_stands_in_the_way_of_a_renewal_is_raised() -> None:
    def away() -> list[Part]:
        raise Unavailable("GET http://score/upload/x/status: no connection")

    with pytest.raises(Unavailable, match="no connection"):
        Urls(Server().parts(), away).use(1, Server(current=1).call)

"""Attacks on the signed URLs of the local store: each is good for what it was made for, and for nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from starlette.applications import Starlette

from score.protocol.parts import Span
from score.server.plane import data_plane
from score.storage.base import PlannedPart, UploadId
from score.storage.local import LocalStore
from score.testing.serving import Serving

NOW = 1_800_000_000.0
HOUR = timedelta(hours=1)
MINE = "data/5c0e0000-0000-4000-8000-00000000000a"
THEIRS = "data/5c0e0000-0000-4000-8000-00000000000b"
DATA = b"0123456789" * 3
SPAN = Span(5, 10)


class Site:
    """A store with two objects and two uploads in progress, served; its clock is the test's."""

    def __init__(self, root: Path) -> None:
        self.now = NOW
        self.serving = Serving()
        stores = [self._open(root, name) for name in ("object", "state")]
        self.store = stores[0]
        self.serving.app = Starlette(routes=data_plane(*stores))
        self.http = urllib3.PoolManager(retries=False, timeout=30)

    def _open(self, root: Path, name: str) -> LocalStore:
        return LocalStore(root, name, base=lambda: self.serving.url, clock=lambda: self.now)

    async def prepare(self) -> None:
        for key in (MINE, THEIRS):
            await self.store.put(key, DATA)
        self.upload = await self.store.begin(MINE)
        self.other = await self.store.begin(THEIRS)

    def get_url(self, span: Span | None = SPAN, key: str = MINE) -> str:
        return self.store.sign_gets(key, [span], HOUR)[0]

    def put_url(self, number: int = 1, upload: UploadId | None = None, key: str = MINE) -> str:
        part = PlannedPart(number, Span((number - 1) * 10, 10))
        return self.store.sign_parts(key, upload or self.upload, [part], HOUR)[0]

    def get(self, url: str, span: Span | None = SPAN, method: str = "GET") -> urllib3.BaseHTTPResponse:
        headers = {"Range": span.http_range} if span else {}
        return self.http.request(method, url, headers=headers)

    def put(self, url: str, data: bytes = b"x" * 10) -> urllib3.BaseHTTPResponse:
        return self.http.request("PUT", url, body=data)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    asyncio.run(site.prepare())
    with site.serving:
        yield site
    site.http.clear()
    asyncio.run(site.store.close())


def refused(answer: urllib3.BaseHTTPResponse, said: str = "AccessDenied") -> None:
    assert answer.status == 403, answer.data
    assert said.encode() in answer.data
    assert DATA[5:15] not in answer.data
    for secret in re.findall(r"[0-9a-f]{64}", answer.data.decode()):
        raise AssertionError(f"the right signature is told: {secret[:4]}...")


def test_the_urls_work_unchanged(site: Site) -> None:
    """What is refused below is refused for the change that was made."""
    assert site.get(site.get_url()).data == DATA[5:15]
    assert site.get(site.get_url(None), None).data == DATA
    assert site.put(site.put_url()).headers["etag"].strip('"') == hashlib.md5(b"x" * 10).hexdigest()


CHANGES = [
    (r"expires=\d+", "expires=9999999999"),
    (r"expires=(\d+)", r"expires=\g<1>0"),
    (r"expires=(\d+)", r"expires=0\1"),
    (r"&signature=.*", ""),
    (r"signature=.", "signature="),
    (r"signature=.{64}", "signature=" + "0" * 64),
    (r"signature=(.*)", lambda found: "signature=" + found[1].swapcase()),
    (r"\?", "?expires=9999999999&"),
    (r"&signature=", "&expires=9999999999&signature="),
    (r"(signature=.*)", r"\1&expires=9999999999"),
    (r"(signature=.*)", r"\1&signature=00"),
    (r"signature=", "Signature="),
    (r"&signature=", "&&signature="),
    (r"&signature=", "%26signature="),
    ("/store/object/", "/store/state/"),
    (MINE, THEIRS),
    (MINE, MINE.upper()),
    (MINE, f"data/../{THEIRS}"),
    (MINE, f"data%2f..%2f{THEIRS}"),
    (MINE, f"{MINE}/"),
    (MINE, f"/{MINE}"),
    (MINE, f"{MINE}%00"),
]


@pytest.mark.parametrize(
    ("what", "by"), [*CHANGES, (r"offset=5", "offset=0"), (r"size=10", "size=11"), (r"offset=5&size=10&", "")]
)
def test_a_url_to_get_that_was_changed(site: Site, what: str, by: str) -> None:
    url = site.get_url()
    changed = re.sub(what, by, url, count=1)
    assert changed != url
    for span in (Span(5, 10), Span(0, 10), Span(5, 11), None):
        answer = site.get(changed, span)
        assert answer.status in (403, 404)
        assert DATA[5:15] not in answer.data


@pytest.mark.parametrize(
    ("what", "by"),
    [
        *CHANGES,
        ("partNumber=1", "partNumber=2"),
        ("partNumber=1&", ""),
        ("partNumber=1", "partNumber=01"),
        ("offset=0", "offset=10"),
        ("size=10", "size=9"),
    ],
)
def test_a_url_to_put_that_was_changed(site: Site, what: str, by: str) -> None:
    url = site.put_url()
    changed = re.sub(what, by, url, count=1)
    assert changed != url
    for data in (b"x" * 10, b"x" * 9):
        assert site.put(changed, data).status in (403, 404)


def test_a_url_of_another_method(site: Site) -> None:
    refused(site.put(site.get_url()))
    refused(site.get(site.put_url()))
    refused(site.get(site.put_url(), None))
    assert site.get(site.put_url(), None, "HEAD").status == 403
    for method in ("DELETE", "POST", "PATCH", "OPTIONS"):
        for url in (site.get_url(), site.put_url()):
            assert site.get(url, None, method).status == 405


def test_another_range_than_the_one_signed(site: Site) -> None:
    for span in (Span(0, 10), Span(5, 11), Span(6, 9), Span(5, 9), None):
        refused(site.get(site.get_url(), span))
    for text in ("bytes=5-14,0-4", "bytes=5-", "bytes=-10", "BYTES=5-14", "bytes=05-14", "bytes=5-14 "):
        answer = site.http.request("GET", site.get_url(), headers={"Range": text})
        assert answer.status == 403 or answer.data == DATA[5:15]


def test_a_condition_does_not_widen_the_range(site: Site) -> None:
    """``If-Range`` asks for all of an object that has changed: a URL of a range gives nothing but that range."""
    etag = site.get(site.get_url()).headers["etag"]
    for condition in ('"of another one"', "", "Thu, 01 Jan 1970 00:00:00 GMT"):
        headers = {"Range": SPAN.http_range, "If-Range": condition}
        for method in ("GET", "HEAD"):
            answer = site.http.request(method, site.get_url(), headers=headers)
            assert (answer.status, DATA[:5] in answer.data) == (412, False), answer.data
        assert site.http.request("GET", site.get_url(None), headers=headers).data == DATA
    answer = site.http.request("GET", site.get_url(), headers={"Range": SPAN.http_range, "If-Range": etag})
    assert (answer.status, answer.data) == (206, DATA[5:15])


def test_urls_end(site: Site) -> None:
    get, put = site.get_url(), site.put_url()
    site.now = NOW + 3599
    assert site.get(get).status == 206
    assert site.put(put).status == 200
    site.now = NOW + 3600
    refused(site.get(get), "Request has expired")
    refused(site.put(put), "Request has expired")


def test_the_url_of_one_part_is_of_no_use_for_another(site: Site) -> None:
    """Neither its number, nor its upload, nor its object can be taken to another URL's signature."""
    one, two = urlsplit(site.put_url(1)), urlsplit(site.put_url(2))
    other = urlsplit(site.put_url(1, site.other, THEIRS))
    for mine, theirs in ((one, two), (two, one), (one, other), (other, one)):
        query, signature = mine.query.partition("&signature=")[0], theirs.query.partition("&signature=")[2]
        refused(site.put(mine._replace(query=f"{query}&signature={signature}").geturl()))


def test_another_upload_of_the_same_object(site: Site) -> None:
    url = site.put_url()
    for wrong in (site.other, UploadId("0" * 32), UploadId("../" + site.upload), UploadId("")):
        refused(site.put(url.replace(f"uploadId={site.upload}", f"uploadId={wrong}")))


def test_a_url_of_another_stores_secret(site: Site, tmp_path: Path) -> None:
    stranger = LocalStore(tmp_path / "stranger", "object", base=lambda: site.serving.url, clock=lambda: NOW)
    refused(site.get(stranger.sign_gets(MINE, [None], HOUR)[0], None))


def test_a_part_sent_twice_is_the_last_one(site: Site) -> None:
    """Replay of a URL within its time replaces that part's bytes, and the ETag says so."""
    url = site.put_url()
    first = site.put(url, b"a" * 10).headers["etag"]
    assert site.put(url, b"b" * 10).headers["etag"] != first

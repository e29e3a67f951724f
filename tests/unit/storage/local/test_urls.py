"""Signed URLs, and the secret that they are signed with."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score.errors import Expired, Forbidden, Misconfigured
from score.protocol.parts import Span
from score.storage.base import PlannedPart, UploadId
from score.storage.local import LocalStore

from .conftest import HOUR, KEY, opened, run


def test_the_secret_is_made_once_and_for_the_owner_only(root: Path, store: LocalStore) -> None:
    secret = root / ".secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    (url,) = store.sign_gets(KEY, [None], HOUR)
    with opened(root) as again:
        assert again.check_url("GET", KEY, url.partition("?")[2]).key == KEY
    assert [path.name for path in root.iterdir() if "secret" in path.name] == [".secret"]


def test_stores_that_start_together_agree_on_the_secret(root: Path) -> None:
    together = threading.Barrier(8)

    def start() -> LocalStore:
        together.wait()
        return LocalStore(root, "object", base=lambda: "http://localhost")

    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: start(), range(8)))
    for store in stores:
        (url,) = store.sign_gets(KEY, [None], HOUR)
        assert stores[0].check_url("GET", KEY, url.partition("?")[2])
        run(store.close())


def test_a_secret_that_is_none(root: Path) -> None:
    with opened(root):
        pass
    (root / ".secret").write_text("short")
    with pytest.raises(Misconfigured, match=r"\.secret"):
        LocalStore(root, "object", base=lambda: "")


def test_a_url_says_what_it_is_for(root: Path) -> None:
    with opened(root, clock=lambda: 1_000_000.0) as store:
        (part,) = store.sign_parts(KEY, UploadId("f" * 32), [PlannedPart(7, Span(60, 10))], HOUR)
        start = f"http://localhost:8087/store/object/{KEY}?"
        wanted = f"uploadId={'f' * 32}&partNumber=7&offset=60&size=10&expires=1003600&signature="
        assert part.startswith(start + wanted)
        whole, span = store.sign_gets(KEY, [None, Span(5, 6)], timedelta(days=30))
        assert whole.startswith(f"{start}expires={1_000_000 + 7 * 24 * 3600}&signature=")
        assert span.startswith(f"{start}offset=5&size=6&expires=")


@given(data=st.data())
@settings(deadline=None)
def test_a_url_changed_anywhere_is_refused(shared: tuple[Path, LocalStore], data: st.DataObject) -> None:
    _, store = shared
    urls = [
        *store.sign_gets(KEY, [None, Span(0, 5)], HOUR),
        *store.sign_parts(KEY, UploadId("a" * 32), [PlannedPart(1, Span(0, 5))], HOUR),
    ]
    query = data.draw(st.sampled_from(urls)).partition("?")[2]
    method = "PUT" if "uploadId" in query else "GET"
    assert store.check_url(method, KEY, query).key == KEY
    at = data.draw(st.integers(0, len(query) - 1))
    other = data.draw(st.sampled_from("0123456789abcdef&=é\n"))
    before, after = query[:at], query[at + 1 :]
    for changed in {before + after, before + other + after, before + other + query[at] + after} - {query}:
        with pytest.raises(Forbidden):
            store.check_url(method, KEY, changed)
    for wrong in ("", "signature=", "&signature=", f"{query}&x=1"):
        with pytest.raises(Forbidden):
            store.check_url(method, KEY, wrong)
    with pytest.raises(Forbidden):
        store.check_url({"PUT": "GET", "GET": "PUT"}[method], KEY, query)
    with pytest.raises(Forbidden):
        store.check_url(method, KEY + "x", query)


def test_a_url_of_another_bucket_is_refused(root: Path, store: LocalStore) -> None:
    (url,) = store.sign_gets(KEY, [None], HOUR)
    with opened(root, "state") as state, pytest.raises(Forbidden):
        state.check_url("GET", KEY, url.partition("?")[2])


def test_a_url_is_good_until_its_time(root: Path) -> None:
    now = 1_000_000.0
    with opened(root, clock=lambda: now) as store:
        (url,) = store.sign_gets(KEY, [None], timedelta(seconds=10))
        query = url.partition("?")[2]
        now += 9.9
        store.check_url("GET", KEY, query)
        now += 0.1
        with pytest.raises(Expired, match="Request has expired"):
            store.check_url("GET", KEY, query)
        with pytest.raises(Forbidden):
            store.check_url("GET", KEY, query.replace("expires=1", "expires=2"))

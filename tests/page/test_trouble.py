"""What goes wrong while a browser sends a file: tokens and URLs that end, headers that are not shown, huge files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from score.storage.s3.settings import S3Settings
from score.testing.authorization import MEMBER, SYSTEM
from score.testing.browser import memory, opened
from score.testing.browsing import choose, enter, go_to, offer, says, wait_for
from score.testing.faults import Answer
from score.testing.minio import running_minio
from score.testing.restricted import Restricted, restricted_site
from score.testing.s3_contract import boto, encrypt
from score.testing.site import Site

pytestmark = pytest.mark.needs("chromium")
MIB = 1024 * 1024
GIB = 1024 * MIB
PART = 5 * MIB
Make = Callable[[str, int], Path]
HTTPS = "https://score.test"
WATCH = """() => {
  globalThis.largest = 0;
  const read = Blob.prototype.arrayBuffer;
  Blob.prototype.arrayBuffer = function () {
    globalThis.largest = Math.max(globalThis.largest, this.size);
    return read.call(this);
  };
}"""
"""Lets a worker note how much it reads at once."""


def test_a_url_that_ends_is_renewed(site: Site, browser: Browser, make_file: Make) -> None:
    """Once for all parts, and no finished part is sent again."""
    registered = site.register([make_file("urls.bam", 4 * PART)])
    site.store.inject(Answer.expired(), method="PUT", part=2)
    site.store.inject(Answer.expired(), method="PUT", part=3)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "urls.bam")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
    assert sorted(one.part or 0 for one in site.sent(registered.id) if one.status == 200) == [1, 2, 3, 4]
    renewed = site.score.seen(method="GET", path=f"^/upload/{registered.id}/status$", status=200)
    assert len(renewed) in (1, 2)


def test_urls_that_never_work_are_not_asked_for_for_ever(site: Site, browser: Browser, make_file: Make) -> None:
    registered = site.register([make_file("denied.bam", 100)])
    site.store.inject(Answer.denied(), method="PUT", times=None)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "denied.bam")
        choose(card, registered.paths[0])
        says(card, "The store answers 403 AccessDenied, also by a new URL. Tell the operator")
        assert len(site.sent(registered.id)) == 2
        site.store.heal()
        card.get_by_role("button", name="Try again").click()
        says(card, "Uploaded and verified")


def test_an_upload_that_was_begun_anew_elsewhere_is_told(site: Site, browser: Browser, make_file: Make) -> None:
    """The parts of one upload are never mixed with those of another."""
    registered = site.register([make_file("anew.bam", 3 * PART)])
    site.store.inject(Answer.expired(), method="PUT", part=3)
    gate = site.score.hold(method="GET", path=f"^/upload/{registered.id}/status$", skip=1)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "anew.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        wait_for(page, lambda: site.finished(registered.id) == {1, 2})
        begun = f"/upload/{registered.id}/uploads?fileSize={3 * PART}&overwrite=true"
        page.evaluate("(path) => fetch(path, { method: 'POST' }).then((answer) => answer.text())", begun)
        gate.open()
        says(card, "Meanwhile this upload was begun anew elsewhere. Try again to go on with that one.")
        site.heal()
        card.get_by_role("button", name="Try again").click()
        says(card, "Uploaded and verified")
    assert {one.part for one in site.sent(registered.id)} == {1, 2, 3}


@pytest.mark.needs("minio")
def test_a_token_that_ends_meanwhile(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    """It is said, nothing is shown any more that needed it, and with another one the upload goes on."""
    site = restricted.site
    registered = site.register([make_file("ends.bam", 4 * PART)], access="controlled")
    key = restricted.key(*MEMBER)
    gate = site.store.hold(method="PUT", part=3)
    with opened(browser, site.url) as (page, _):
        enter(page, key)
        go_to(page, registered)
        card = offer(page, "ends.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        wait_for(page, lambda: site.finished(registered.id) >= {1, 2, 4})
        restricted.keys.revoke(key)
        gate.open()
        says(card, "The token is not accepted. The API key is not valid.")
        with page.expect_response(lambda answer: answer.url.endswith("/page/health") and answer.ok):
            page.get_by_role("button", name="Look again", exact=True).click()
        expect(page.locator("#summary")).to_have_text("Everything works.")
        page.get_by_role("link", name="Studies").click()
        expect(page.get_by_role("alert")).to_contain_text("The API key is not valid.")
        expect(page.locator("#browser")).to_be_hidden()
        expect(page.locator("#list")).to_be_empty()
        expect(page.get_by_role("button", name="Forget it")).to_be_hidden()
        assert page.evaluate("sessionStorage.getItem('score.token')") is None
        site.store.forget()
        enter(page, restricted.key(*MEMBER))
        expect(page.locator("#browser")).to_be_visible()
        card.get_by_role("button", name="Try again").click()
        says(card, "Uploaded and verified")
    assert {one.part for one in site.sent(registered.id)} == {3}


@pytest.mark.needs("minio")
def test_a_download_that_finds_the_token_ended_closes_what_it_opened(
    restricted: Restricted, browser: Browser, make_file: Make
) -> None:
    site = restricted.site
    registered = site.register([make_file("over.bam", 10)], access="controlled")
    site.run("upload", "--manifest", registered.manifest, accesstoken=site.token)
    site.publish(registered)
    with opened(browser, site.url) as (page, _):
        for again in ("Look at the uploads again", "Download over.bam"):
            key = restricted.key(*SYSTEM)
            enter(page, key)
            study = page.get_by_role("link", name=registered.study, exact=True)
            expect(study).to_be_visible()
            expect(page.locator("#progress-said")).to_have_text("None.")  # nothing else is asked for any more
            if "Download" in again:
                study.click()
                page.get_by_role("link", name=registered.analysis).click()
            button = page.get_by_role("button", name=again)
            expect(button).to_be_visible()
            restricted.keys.revoke(key)
            button.click()
            expect(page.get_by_role("alert")).to_contain_text("The API key is not valid.")
            for gone in ("#browser", "#progress"):
                expect(page.locator(gone)).to_be_hidden()
            assert page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("keeps_host", "told"),
    [
        (True, "The store is at http://score.test, and this page came by https: browsers refuse that."),
        (False, "A proxy in front has to pass the header Host on"),
    ],
)
def test_a_proxy_that_ends_tls_and_tells_nobody(
    site: Site, browser: Browser, make_file: Make, keeps_host: bool, told: str
) -> None:
    """What its operator has to do is said where a user meets it."""
    registered = site.register([make_file("mixed.bam", 100)])

    def proxied(route: Route) -> None:
        headers = route.request.headers | ({"host": "score.test"} if keeps_host else {})
        route.fulfill(response=route.fetch(url=route.request.url.replace(HTTPS, site.server.url), headers=headers))

    with opened(browser, "about:blank", ignore_https_errors=True) as (page, _):
        page.route(f"{HTTPS}/**", proxied)
        page.goto(HTTPS)
        go_to(page, registered)
        card = offer(page, "mixed.bam")
        choose(card, registered.paths[0])
        says(card, told)


@pytest.mark.needs("minio")
def test_back_from_a_store_that_refuses_a_download(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    site = restricted.site
    registered = site.register([make_file("denied.bam", 10)], access="controlled")
    site.run("upload", "--manifest", registered.manifest, accesstoken=site.token)
    site.publish(registered)
    site.store.inject(Answer.denied(), method="GET", path=site.path_of(registered.id))
    with opened(browser, site.url) as (page, _):
        enter(page, site.token)
        page.get_by_role("link", name=registered.study, exact=True).click()
        page.get_by_role("link", name=registered.analysis).click()
        get = page.get_by_role("button", name="Download denied.bam")
        get.click()
        page.wait_for_url(f"**{registered.id}*")
        page.go_back()
        with page.expect_download() as fetched:
            get.click()
        assert fetched.value.path().read_bytes() == registered.paths[0].read_bytes()


@pytest.mark.needs("minio")
def test_a_store_that_hides_its_etags_is_named(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    """The half of CORS that operators forget: calls are let through, and their answers not shown."""
    site = restricted.site
    registered = site.register([make_file("etag.bam", 100)])
    headers = {"Access-Control-Allow-Origin": site.url, "ETag": '"0"'}
    site.store.inject(Answer(200, headers=headers), method="PUT")
    with opened(browser, site.url) as (page, _):
        enter(page, restricted.key(*MEMBER))
        go_to(page, registered)
        card = offer(page, "etag.bam")
        choose(card, registered.paths[0])
        says(card, "it does not expose the header ETag. Its operator has to allow it (CORS)")
        card.get_by_role("button", name="Try again").click()
        says(card, "Uploaded and verified")


def test_a_part_that_did_not_arrive_is_sent_again(site: Site, browser: Browser, make_file: Make) -> None:
    """A store, or what stands before it, said that it took the part."""
    registered = site.register([make_file("lost.bam", 3 * PART)])
    site.store.inject(Answer(200, headers={"ETag": f'"{"0" * 32}"'}), method="PUT", part=2)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "lost.bam")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
    assert sorted(one.part or 0 for one in site.sent(registered.id)) == [1, 2, 2, 3]


@pytest.mark.needs("minio")
def test_a_bucket_that_encrypts(tmp_path: Path, browser: Browser, make_file: Make) -> None:
    """The ETags of its parts are no MD5s, and nothing that a page may read says so."""
    with running_minio(kms_key="of-the-bucket") as minio, restricted_site(tmp_path, minio) as restricted:
        site = restricted.site
        with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
            encrypt(s3, site.objects.strip("/"), "of-the-bucket")
        registered = site.register([make_file("encrypted.bam", 2 * PART)])
        with opened(browser, site.url) as (page, _):
            enter(page, restricted.key(*MEMBER))
            go_to(page, registered)
            card = offer(page, "encrypted.bam")
            choose(card, registered.paths[0])
            says(card, "Uploaded and verified")
        assert sorted(one.part or 0 for one in site.sent(registered.id)) == [1, 2]


def test_a_huge_file_is_never_in_memory(site: Site, browser: Browser, make_file: Make, tmp_path: Path) -> None:
    """5 GiB and a byte; every part begins with its number, the rest are holes. It is stopped after some parts."""
    size = 5 * GIB + 1
    huge = tmp_path / "huge.bam"
    with open(huge, "wb") as file:
        for number in range(size // PART + 1):
            file.seek(number * PART)
            file.write(b"%08d" % (number + 1))
        file.truncate(size)
    registered = site.register([make_file("small.bam", 1)], fileName="huge.bam", fileSize=size)
    gate = site.store.hold(method="PUT", skip=12)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "huge.bam")
        before = memory(browser)
        choose(card, huge)
        wait_for(page, lambda: len(page.workers) == 2)
        for worker in page.workers:
            worker.evaluate(WATCH)
        gate.wait_for_arrival()
        expect(card.locator(".hint")).to_have_text(re.compile("of 5.37 GB.*MD5 of [1-9]\\d %"), timeout=60_000)
        assert memory(browser) - before < 200 * MIB
        assert max(worker.evaluate("largest") for worker in page.workers) <= PART
        card.get_by_role("button", name="Stop").click()
        says(card, "Stopped.")
        gate.open()
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_be_hidden()
    assert all(one.sent <= PART for one in site.sent(registered.id))
    told = site.score.seen(method="POST", path=f"^/upload/{registered.id}/parts$", status=200)
    assert len(told) >= 10
    with open(huge, "rb") as file:
        for call in told:
            file.seek(((call.part or 0) - 1) * PART)
            assert call.parameters["md5"] == hashlib.md5(file.read(PART)).hexdigest()

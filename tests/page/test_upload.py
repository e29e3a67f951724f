"""Uploads from a browser: bytes on the store as on the disk, whatever comes between."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Browser, expect

from score.testing.authorization import MEMBER
from score.testing.browser import opened
from score.testing.browsing import card_of, choose, enter, go_to, offer, says, wait_for
from score.testing.faults import Answer, Reset
from score.testing.restricted import Restricted
from score.testing.site import Registered, Site

pytestmark = pytest.mark.needs("chromium")
MIB = 1024 * 1024
PART = 5 * MIB
Make = Callable[[str, int], Path]
DIGESTS = """async (sizes) => {
  const { Md5 } = await import("/page/files/md5.js");
  const bytes = new Uint8Array(300_000).map((_, at) => (at * 7919) >> 3);
  return sizes.map(([size, step]) => {
    const md5 = new Md5();
    for (let at = 0; at < size; at += step) md5.update(bytes.subarray(at, Math.min(at + step, size)));
    return md5.hex();
  });
}"""


def check_stored(site: Site, registered: Registered, tmp_path: Path) -> None:
    """The registry takes it, and score-client fetches the same bytes."""
    site.publish(registered)
    site.run("download", "--object-id", registered.id, "--output-dir", tmp_path / "back", accesstoken=site.token)
    (path,) = registered.paths
    assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_md5_is_right(site: Site, browser: Browser) -> None:
    """Compared with hashlib, at every end of a block, in pieces that fit and that do not."""
    sizes = [
        (size, step) for size in (0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000) for step in (1, 7, 64, 1000)
    ]
    sizes += [(300_000, step) for step in (63, 64, 65, 4096, 300_000)]
    data = bytes(((at * 7919) >> 3) & 255 for at in range(300_000))
    with opened(browser, site.url) as (page, _):
        found = page.evaluate(DIGESTS, sizes)
    assert found == [hashlib.md5(data[:size]).hexdigest() for size, _ in sizes]


@pytest.mark.parametrize("size", [0, 1000, 3 * PART + 1])
def test_a_file_arrives(site: Site, browser: Browser, make_file: Make, tmp_path: Path, size: int) -> None:
    registered = site.register([make_file("reads.bam", size)])
    with opened(browser, site.url) as (page, complaints):
        go_to(page, registered)
        card = offer(page, "reads.bam")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
        expect(page.get_by_role("cell", name="uploaded", exact=True)).to_be_visible()
        assert complaints.policy == []
        card.get_by_role("button", name="Close").click()
        expect(page.locator("#sending")).to_be_hidden()
    if size:
        check_stored(site, registered, tmp_path)
    else:
        assert site.has_object(registered.id)


@pytest.mark.needs("minio")
def test_with_a_token_to_another_origin(
    restricted: Restricted, browser: Browser, make_file: Make, tmp_path: Path
) -> None:
    site = restricted.site
    registered = site.register([make_file("reads.cram", 2 * PART + 7)], access="controlled")
    key = restricted.key(*MEMBER)
    with opened(browser, site.url) as (page, complaints):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        enter(page, key)
        go_to(page, registered)
        card = offer(page, "reads.cram")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
        assert complaints.policy == []
        assert {url.split("/")[2] for url in asked} == {site.url.split("/")[2], site.store_proxy.url.split("/")[2]}
        assert not any(key in url for url in [*asked, page.url])
    assert sorted(one.part or 0 for one in site.sent(registered.id)) == [1, 2, 3]
    check_stored(site, registered, tmp_path)


def test_a_reload_does_not_end_it(site: Site, browser: Browser, make_file: Make, tmp_path: Path) -> None:
    registered = site.register([make_file("large.bam", 4 * PART)])
    gate = site.store.hold(method="PUT", part=3)
    with opened(browser, site.url) as (page, _):
        page.on("dialog", lambda dialog: dialog.accept())
        go_to(page, registered)
        card = offer(page, "large.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        expect(card.locator(".hint")).to_contain_text("of 21.0 MB")
        wait_for(page, lambda: site.finished(registered.id) >= {1, 2, 4})
        page.reload()
        gate.open()
        site.store.forget()
        site.score.forget()
        card = card_of(page, "large.bam")
        says(card, "was interrupted. Choose the same file again")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
    assert {one.part for one in site.sent(registered.id)} <= {3}
    check_stored(site, registered, tmp_path)


def test_another_file_is_refused(site: Site, browser: Browser, make_file: Make, tmp_path: Path) -> None:
    """Of another size, of another content, changed since the upload began, and changed while it is read."""
    original = make_file("a.bam", 3 * PART)
    registered = site.register([original])
    with opened(browser, site.url) as (page, _):
        page.on("dialog", lambda dialog: dialog.accept())
        go_to(page, registered)
        card = offer(page, "a.bam")
        choose(card, make_file("short.bam", 10))
        says(card, "This file has 10 bytes, and a.bam is registered with 15728640.")
        other = make_file("other.bam", 3 * PART)
        choose(card, other)
        says(card, "This is another file: its MD5 is " + hashlib.md5(other.read_bytes()).hexdigest())
        assert not site.has_object(registered.id)
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_be_hidden()

        site.score.forget()  # the other file's parts were finished too
        gate = site.store.hold(method="PUT", part=3)
        card = offer(page, "a.bam")
        choose(card, original)
        wait_for(page, lambda: site.finished(registered.id) >= {1, 2})
        page.reload()
        gate.open()
        changed = tmp_path / "changed" / "a.bam"
        changed.parent.mkdir()
        data = bytearray(original.read_bytes())
        data[PART + 17] ^= 1
        changed.write_bytes(data)
        card = card_of(page, "a.bam")
        choose(card, changed)
        says(card, re.compile("its part 2 has other bytes|its MD5 is"))
        assert not site.has_object(registered.id)

        choose(card, changed)
        changed.write_bytes(b"\0" + data)
        says(card, re.compile("cannot be read any more|other bytes|its MD5 is"))
        choose(card, original)
        says(card, "Uploaded and verified")
    check_stored(site, registered, tmp_path)


def test_a_part_that_is_damaged_or_refused_is_sent_again(
    site: Site, browser: Browser, make_file: Make, tmp_path: Path
) -> None:
    registered = site.register([make_file("b.bam", 2 * PART)])
    site.store.inject(Answer.unavailable(), method="PUT", part=1)
    site.store.inject(Reset(), method="PUT", part=2)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "b.bam")
        choose(card, registered.paths[0])
        says(card, "Next try in 1 s (1 of 8)")
        says(card, "Uploaded and verified")
    assert len(site.sent(registered.id)) >= 4
    check_stored(site, registered, tmp_path)


def test_offline_it_waits(site: Site, browser: Browser, make_file: Make, tmp_path: Path) -> None:
    registered = site.register([make_file("c.bam", 3 * PART)])
    gate = site.store.hold(method="PUT", part=1)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "c.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        page.context.set_offline(True)
        site.store_proxy.shut()
        says(card, "This computer is offline. The upload goes on when it is online again.")
        gate.open()
        site.store_proxy.open()
        page.context.set_offline(False)
        says(card, "Uploaded and verified")
    check_stored(site, registered, tmp_path)


def test_two_tabs_do_not_send_the_same_file(site: Site, browser: Browser, make_file: Make) -> None:
    registered = site.register([make_file("d.bam", PART)])
    gate = site.store.hold(method="PUT")
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "d.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        second = page.context.new_page()
        second.goto(page.url)
        other = offer(second, "d.bam")
        choose(other, registered.paths[0])
        says(other, "Another tab of this browser uploads this file.")
        gate.open()
        says(card, "Uploaded and verified")
    assert len(site.sent(registered.id)) == 1


def test_stop_and_cancel(site: Site, browser: Browser, make_file: Make, tmp_path: Path) -> None:
    registered = site.register([make_file("e.bam", 2 * PART)])
    gate = site.store.hold(method="PUT", part=2)
    with opened(browser, site.url) as (page, _):
        go_to(page, registered)
        card = offer(page, "e.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        wait_for(page, lambda: site.finished(registered.id) >= {1})
        card.get_by_role("button", name="Stop").click()
        says(card, "Stopped. What was sent is kept.")
        gate.open()
        site.heal()
        gate = site.store.hold(method="PUT", part=2)
        card.get_by_role("button", name="Try again").click()
        gate.wait_for_arrival()
        assert {one.part for one in site.sent(registered.id)} == {2}
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_be_hidden()
        gate.open()
        assert site.score.seen(method="DELETE", path=f"^/upload/{registered.id}$", status=200)
        card = offer(page, "e.bam")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
    check_stored(site, registered, tmp_path)


def test_cancelled_is_the_own_upload_and_no_other(site: Site, browser: Browser, make_file: Make) -> None:
    """Another one with the right to the file began anew meanwhile."""
    registered = site.register([make_file("e.bam", 2 * PART)])
    gate = site.store.hold(method="PUT", part=2)
    with opened(browser, site.url) as (page, _), urllib3.PoolManager(retries=False, timeout=30) as http:
        go_to(page, registered)
        card = offer(page, "e.bam")
        choose(card, registered.paths[0])
        gate.wait_for_arrival()
        path = f"{site.server.url}/upload/{registered.id}"
        headers = {"Authorization": f"Bearer {site.token}"}
        start = f"{path}/uploads?fileSize={2 * PART}&md5={'0' * 32}&overwrite=true"
        begun = http.request("POST", start, headers=headers).json()["uploadId"]
        card.get_by_role("button", name="Cancel").click()
        expect(card).to_be_hidden()
        gate.open()
        status = http.request("GET", f"{path}/status?fileSize={2 * PART}", headers=headers)
        assert status.json()["uploadId"] == begun


@pytest.mark.needs("minio")
def test_a_store_without_cors_is_named(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    """MinIO allows every origin by itself; here something before it does not."""
    site = restricted.site
    registered = site.register([make_file("f.bam", 100)])
    site.store.inject(Answer(403), method="OPTIONS", times=None)
    site.store.inject(Answer(200, b"heliograph\n"), path="heliograph$", times=None)
    with opened(browser, site.url) as (page, _):
        enter(page, restricted.key(*MEMBER))
        go_to(page, registered)
        card = offer(page, "f.bam")
        choose(card, registered.paths[0])
        says(card, f"has to allow it (CORS): origin {site.url}, methods GET and PUT")
        expect(card.get_by_role("button", name="Try again")).to_be_visible()

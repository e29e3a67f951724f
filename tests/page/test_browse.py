"""Studies, analyses and files on the page: who sees what, and how a file gets from there to a disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Browser, expect

from score.testing.authorization import MEMBER, STRANGER, STUDY, STUDY_READER, SYSTEM
from score.testing.browser import opened
from score.testing.browsing import choose, enter, says
from score.testing.faults import Answer
from score.testing.restricted import Restricted
from score.testing.site import Registered, Site

pytestmark = pytest.mark.needs("chromium")
Make = Callable[[str, int], Path]
HOSTILE = '<img src=x onerror="document.title=1">\u202emab.exe'
SHOWN = HOSTILE.replace("\u202e", "\\u202e")
"""What turns the direction of writing, and would have the name end in exe.bam, is seen for what it is."""
MARKUP = "<b>A</b>-CA"


def published(site: Site, path: Path, access: str = "controlled") -> Registered:
    registered = site.register([path], access=access)
    site.run("upload", "--manifest", registered.manifest, accesstoken=site.token)
    site.publish(registered)
    return registered


def ask(site: Site, path: str, key: str | None = None) -> tuple[int, dict[str, object]]:
    """Status and document of the answer to a question of the page's scripts."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        answer = http.request("GET", site.server.url + path, headers=headers)
        return answer.status, json.loads(answer.data)


def test_a_file_is_found_and_fetched_on_an_open_site(site: Site, browser: Browser, make_file: Make) -> None:
    registered = published(site, make_file("open.bam", 6_000_000))
    with opened(browser, site.url) as (page, complaints):
        expect(page.locator("#token-form")).to_be_hidden()
        page.get_by_role("link", name=STUDY, exact=True).click()
        page.get_by_role("link", name=registered.analysis).click()
        expect(page.get_by_role("heading", name="1 file, published")).to_be_focused()
        page.reload()
        with page.expect_download() as fetched:
            page.get_by_role("button", name="Download open.bam").click()
        assert fetched.value.suggested_filename == "open.bam"
        assert fetched.value.path().read_bytes() == registered.paths[0].read_bytes()
        page.go_back()
        expect(page.get_by_role("link", name=registered.analysis)).to_be_visible()
        page.get_by_label("Or fetch one object by its id").fill("../profile")
        page.get_by_role("button", name="Download", exact=True).click()
        expect(page.get_by_role("alert")).to_have_text("This is no object id: 32 hex digits in five groups.")
        page.get_by_label("Or fetch one object by its id").fill(registered.id)
        with page.expect_download() as fetched:
            page.get_by_role("button", name="Download", exact=True).click()
        assert fetched.value.path().read_bytes() == registered.paths[0].read_bytes()
        assert complaints.said == []


def test_the_address_names_the_place(site: Site, browser: Browser, make_file: Make) -> None:
    """Back leads to the first list too, and going to a section of the page loses no place."""
    registered = site.register([make_file("place.bam", 10)], study="PLACE-CA")
    with opened(browser, site.url) as (page, _):
        study = page.get_by_role("link", name="PLACE-CA", exact=True)
        expect(study).to_be_visible()
        page.get_by_role("link", name="Files", exact=True).click()
        study.click()
        expect(page.get_by_role("heading", name="1 analysis of PLACE-CA")).to_be_focused()
        page.get_by_role("link", name="Command line").click()
        expect(page).to_have_url(f"{site.url}/#/PLACE-CA")
        page.reload()
        page.get_by_role("link", name=registered.analysis).click()
        expect(page.get_by_role("heading", name="1 file, unpublished")).to_be_focused()
        for _ in range(2):
            page.go_back()
        expect(page.get_by_role("heading", name="1 analysis of PLACE-CA")).to_be_visible()
        page.go_back()
        expect(study).to_be_visible()


def test_slow_answers_are_told_of_and_what_failed_can_be_asked_for_again(
    site: Site, browser: Browser, make_file: Make
) -> None:
    registered = site.register([make_file("slow.bam", 10)], study="SLOW-CA")
    with opened(browser, site.url) as (page, _):
        alert = page.get_by_role("alert")
        study = page.get_by_role("link", name="SLOW-CA", exact=True)
        site.score.inject(Answer.unavailable(), path="/page/analyses")
        study.click()
        expect(alert).to_have_text("This server answers 503.")
        gate = site.score.hold(path="/page/analyses")
        study.click()
        expect(alert).to_have_text("This server has not answered yet.")
        gate.open()
        expect(page.get_by_role("heading", name="1 analysis of SLOW-CA")).to_be_focused()
        expect(alert).to_be_empty()
        site.score.hold(path=f"/download/{registered.id}")
        page.get_by_label("Or fetch one object by its id").fill(registered.id)
        page.get_by_role("button", name="Download", exact=True).click()
        expect(alert).to_have_text("This server has not answered yet.")
        site.heal()
        expect(alert).to_contain_text("UNPUBLISHED, not PUBLISHED")


@pytest.mark.needs("minio")
def test_a_token_opens_what_it_opens_elsewhere(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    site = restricted.site
    mine = published(site, make_file("mine.bam", 1000))
    waiting = site.register([make_file("waiting.bam", 10)])
    site.register([make_file("other.bam", 10)], study="OTHER-CA")
    key = restricted.key(*STUDY_READER)
    with opened(browser, site.url) as (page, complaints):
        expect(page.locator("#browser")).to_be_hidden()
        enter(page, key)
        expect(page.locator("#list a")).to_have_text([STUDY])
        expect(page.locator("#progress")).to_be_hidden()
        assert key not in page.content()
        expect(page.locator("#token")).to_have_value("")
        page.get_by_role("link", name=STUDY, exact=True).click()
        expect(page.get_by_role("link", name=mine.analysis)).to_be_visible()
        expect(page.get_by_role("link", name=waiting.analysis)).to_be_hidden()
        page.get_by_role("link", name=mine.analysis).click()
        with page.expect_download() as fetched:
            page.get_by_role("button", name="Download mine.bam").click()
        assert fetched.value.path().read_bytes() == mine.paths[0].read_bytes()
        assert page.evaluate("[localStorage.length, document.cookie, Object.keys(sessionStorage).join()]") == [
            0, "", "score.token",
        ]  # fmt: skip
        page.reload()
        expect(page.get_by_role("button", name="Download mine.bam")).to_be_visible()
        other = page.context.new_page()
        other.goto(site.url)
        expect(other.locator("#browser")).to_be_hidden()
        page.get_by_role("button", name="Forget it").click()
        expect(page.locator("#browser")).to_be_hidden()
        assert page.evaluate("sessionStorage.length") == 0
        assert complaints.policy == []


@pytest.mark.needs("minio")
def test_who_may_ask_what(restricted: Restricted, make_file: Make) -> None:
    """Studies and what is in them need the scope of a transfer; what is not published, that of an upload."""
    site = restricted.site
    waiting = site.register([make_file("w.bam", 10)])
    gone = site.register([make_file("g.bam", 10)])
    assert site.song is not None
    site.song.set_state(gone.analysis, "SUPPRESSED")
    analyses = f"/page/analyses?study={STUDY}"
    contents = f"/page/contents?study={STUDY}&analysis={waiting.analysis}"
    hidden = f"/page/contents?study={STUDY}&analysis={gone.analysis}"
    statuses = {
        None: (401, 401, 401, 401, 401),
        "nonsense": (401, 401, 401, 401, 401),
        restricted.key(*STRANGER): (200, 403, 403, 403, 403),
        restricted.key(): (200, 403, 403, 403, 403),
        restricted.key(*STUDY_READER): (200, 200, 404, 404, 403),
        restricted.key(*MEMBER): (200, 200, 200, 404, 403),
        restricted.key(*SYSTEM): (200, 200, 200, 404, 200),
    }
    for key, expected in statuses.items():
        paths = ("/page/studies", analyses, contents, hidden, "/page/uploads")
        assert tuple(ask(site, path, key)[0] for path in paths) == expected
    assert ask(site, "/page/studies", restricted.key())[1] == {"studies": [], "everywhere": False}
    assert ask(site, analyses + "&first=-1", restricted.key(*MEMBER))[0] == 400
    assert ask(site, "/page/analyses?study=", restricted.key(*MEMBER))[0] == 400
    _, document = ask(site, analyses, restricted.key(*STUDY_READER))
    assert waiting.analysis not in json.dumps(document)


@pytest.mark.needs("minio")
@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("Bearer 5c0e0000-0000-4000-8000-000000000001", "The token is not accepted"),
        ("not a token", "it has spaces"),
        ("схлюч", "signs that no token has"),
        ("-----BEGIN PRIVATE KEY-----", "This is a key file"),
        ("ey0.ey0.c2lnbmF0dXJl", "The token is no API key, and this server takes no others. A JWT ends soon"),
        ("AKIAIOSFODNN7EXAMPLE", "This is a key of an object store (S3)"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "This is a key of an object store (S3)"),
        ("", "Enter a token first."),
    ],
)
def test_the_wrong_kind_of_key(restricted: Restricted, browser: Browser, key: str, told: str) -> None:
    with opened(browser, restricted.site.url) as (page, _):
        enter(page, key)
        expect(page.get_by_role("alert")).to_contain_text(told)
        expect(page.locator("#browser")).to_be_hidden()
        expect(page.get_by_label("Access token")).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0
        if key:
            enter(page, restricted.key())
            expect(page.locator("#list")).to_contain_text("has no scope for any study")


@pytest.mark.needs("minio")
def test_hostile_names_are_text(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    """Names come from whoever registers files, and from whoever wrote the address."""
    site = restricted.site
    registered = site.register([make_file("x.bam", 10)], study=MARKUP, fileName=HOSTILE)
    with opened(browser, site.url) as (page, complaints):
        enter(page, site.token)
        page.get_by_role("link", name=MARKUP).click()
        page.get_by_role("link", name=registered.analysis).click()
        expect(page.get_by_role("cell", name=SHOWN, exact=True)).to_be_visible()
        page.get_by_role("button", name=f"Upload {HOSTILE}").click()
        card = page.locator(".transfer")
        expect(card.locator("h3")).to_have_text(SHOWN)
        choose(card, make_file("y.bam", 20))
        says(card, f"This file has 20 bytes, and {SHOWN} is registered with 10.")
        choose(card, registered.paths[0])
        says(card, "Uploaded and verified")
        for fragment in ("#/<img src=x>/", "#/%E0%A4%A/", "#/NONE-CA/x", "#/../..", "#//"):
            page.goto(f"{site.url}/{fragment}")
            expect(page.locator("#files")).to_be_visible()
        page.goto(f"{site.url}/#/NONE-CA")
        expect(page.get_by_role("alert")).to_contain_text("Song does not know the analyses of study NONE-CA.")
        expect(page.locator("img, #list b")).to_have_count(1)
        expect(page).to_have_title("Score")
        assert complaints.policy == []


def test_long_lists_come_in_pages(site: Site, browser: Browser, tmp_path: Path) -> None:
    paths = [tmp_path / f"file-{number:03}.txt" for number in range(101)]
    for path in paths:
        path.touch()
    many = site.register(paths, study="LONG-CA")
    for _ in range(20):
        site.register(paths[:1], study="LONG-CA")
    with opened(browser, f"{site.url}/#/LONG-CA") as (page, _):
        expect(page.get_by_role("heading", name="21 analyses of LONG-CA")).to_be_visible()
        expect(page.locator("#list tbody tr")).to_have_count(20)
        page.get_by_role("link", name="Later entries").click()
        page.get_by_role("link", name=many.analysis).click()
        expect(page.locator("#list tbody tr")).to_have_count(100)
        page.get_by_role("link", name="Later entries").click()
        expect(page.get_by_role("cell", name="file-100.txt", exact=True)).to_be_visible()
        expect(page.get_by_role("navigation", name="Pages")).to_contain_text("101 to 101 of 101")


@pytest.mark.needs("minio")
def test_uploads_in_progress_are_for_who_may_look_everywhere(
    restricted: Restricted, browser: Browser, make_file: Make
) -> None:
    site = restricted.site
    begun = site.register([make_file("begun.bam", 10)])
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        start = f"{site.server.url}/upload/{begun.id}/uploads?fileSize=10&overwrite=true"
        assert http.request("POST", start, headers={"Authorization": f"Bearer {site.token}"}).status == 200
    with opened(browser, site.url) as (page, _):
        enter(page, site.token)
        row = page.locator("#open-uploads tr", has_text="begun.bam")
        expect(row).to_contain_text(STUDY)
        expect(row).to_contain_text("s ago")
        expect(page.locator("#progress-said")).to_contain_text("in progress.")

"""The page without a mouse, on a phone, in the dark, and as screen readers know it; with files and uploads on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FileChooser, Page, expect

from score.testing.authorization import MEMBER
from score.testing.browser import fits, lines, nameless, opened, poor_contrast, tab_to
from score.testing.browsing import card_of, choose, go_to, offer, says, wait_for
from score.testing.faults import Answer
from score.testing.restricted import Restricted
from score.testing.site import Site

pytestmark = pytest.mark.needs("chromium")
Make = Callable[[str, int], Path]


def press(page: Page, role: str, name: str, key: str = "Enter") -> None:
    """Go to it by Tab, and press a key there."""
    tab_to(page, page.get_by_role(role, name=name, exact=True).first)  # type: ignore[arg-type]
    page.keyboard.press(key)


@pytest.mark.needs("minio")
def test_all_is_done_by_keyboard(restricted: Restricted, browser: Browser, make_file: Make) -> None:
    """Token, study, analysis, upload, download: the focus is never lost, and always where one goes on."""
    site = restricted.site
    registered = site.register([make_file("keys.bam", 6_000_000)], access="controlled")
    with opened(browser, site.url) as (page, complaints):
        choosers: list[FileChooser] = []
        page.on(
            "filechooser", lambda chooser: choosers.append(chooser)
        )  # from the start: it takes a while until the browser asks nobody else
        tab_to(page, page.get_by_label("Access token"))
        page.keyboard.type(restricted.key(*MEMBER))
        page.keyboard.press("Enter")
        title = page.locator("#list-title")
        expect(title).to_be_focused()
        press(page, "link", registered.study)
        expect(title).to_contain_text(f"of {registered.study}")
        press(page, "link", registered.analysis)
        expect(title).to_have_text("1 file, unpublished")
        press(page, "button", "Upload keys.bam")
        card = card_of(page, "keys.bam")
        expect(card.get_by_label("Choose keys.bam")).to_be_focused()
        gate = site.store.hold(method="PUT")
        page.keyboard.press("Enter")
        wait_for(page, lambda: bool(choosers))
        choosers[0].set_files(registered.paths[0])
        expect(card.get_by_role("button", name="Stop")).to_be_focused()
        gate.wait_for_arrival()
        page.keyboard.press("Enter")
        says(card, "Stopped.")
        expect(card.get_by_role("button", name="Try again")).to_be_focused()
        site.heal()
        page.keyboard.press("Enter")
        says(card, "Uploaded and verified")
        expect(card.get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Enter")
        expect(title).to_be_focused()
        site.publish(registered)
        page.reload()
        tab_to(page, page.get_by_role("button", name="Download keys.bam"))
        with page.expect_download() as fetched:
            page.keyboard.press("Enter")
        assert fetched.value.path().read_bytes() == registered.paths[0].read_bytes()
        press(page, "button", "Forget it")
        expect(page.get_by_label("Access token")).to_be_focused()
        assert complaints.policy == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_read_on_a_phone_and_has_names(site: Site, browser: Browser, make_file: Make, scheme: str) -> None:
    """With uploads that go on, wait, are done and have failed."""
    long = f"{'long-name-' * 12}.bam"
    files = [make_file("waits.bam", 10), make_file("done.bam", 10), make_file(long, 11)]
    registered = site.register(files)
    site.store.inject(Answer.unavailable(), method="PUT", path=registered.ids[0], times=None)
    options = {"viewport": {"width": 320, "height": 740}, "color_scheme": scheme}
    with opened(browser, site.url, **options) as (page, _):
        assert fits(page)
        go_to(page, registered)
        for path, told in zip(files, ("Next try in", "Uploaded and verified", "This file has 10 bytes"), strict=True):
            card = offer(page, path.name)
            choose(card, files[0] if path.name == long else path)
            says(card, told)
        page.get_by_label("Or fetch one object by its id").fill("x")
        page.get_by_role("button", name="Download", exact=True).click()
        expect(page.get_by_role("alert")).to_have_attribute("data-kind", "bad")
        expect(page.locator("[data-kind=good], [data-kind=wait]")).to_have_count(2)
        assert fits(page)
        assert poor_contrast(page) == []
        assert nameless(page) == []
        expect(page.get_by_role("progressbar", name="Sent of waits.bam")).to_be_visible()
        expect(page.get_by_role("group", name="waits.bam").get_by_role("button", name="Stop")).to_be_visible()
        expect(card_of(page, "waits.bam").get_by_role("status")).to_contain_text("Next try in")


def test_one_long_name_leaves_the_other_columns_their_room(site: Site, browser: Browser, make_file: Make) -> None:
    """At twice the size, as on half a screen, words of the other columns stand in one line."""
    registered = site.register([make_file(f"{'x' * 150}.bam", 10)], access="controlled")
    with opened(browser, site.url, viewport={"width": 640, "height": 740}) as (page, _):
        go_to(page, registered)
        assert fits(page)
        for word in (page.get_by_text("controlled", exact=True), page.get_by_role("button", name="Upload xxx")):
            assert lines(word) == 1


def test_the_focus_is_within_sight(site: Site, browser: Browser, tmp_path: Path) -> None:
    """After the end of a long list, and after the card of an upload."""
    paths = [tmp_path / f"{number:03}.bam" for number in range(200)]
    for path in paths:
        path.touch()
    registered = site.register(paths)
    with opened(browser, site.url, reduced_motion="reduce") as (page, _):
        go_to(page, registered)
        title = page.locator("#list-title")
        page.get_by_role("link", name="Later entries").click()
        expect(page.get_by_text("199.bam", exact=True)).to_be_attached()
        expect(title).to_be_focused()
        expect(title).to_be_in_viewport()
        for name in ("198.bam", "199.bam"):
            offer(page, name)
        card_of(page, "198.bam").get_by_role("button", name="Cancel").click()
        others = page.get_by_role("heading", name="Uploads from this tab")
        expect(others).to_be_focused()
        expect(others).to_be_in_viewport()
        card_of(page, "199.bam").get_by_role("button", name="Cancel").click()
        expect(title).to_be_focused()
        expect(title).to_be_in_viewport()


@pytest.mark.parametrize(("wish", "behaviour"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_nothing_moves_for_who_wants_no_motion(site: Site, browser: Browser, wish: str, behaviour: str) -> None:
    with opened(browser, site.url, reduced_motion=wish) as (page, _):
        expect(page.locator("html")).to_have_css("scroll-behavior", behaviour)
        assert page.evaluate("document.getAnimations().length") == 0

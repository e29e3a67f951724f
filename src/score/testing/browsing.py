"""What people do on the page at ``/``, for tests that do it in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from score.testing.browser import PATIENCE
from score.testing.site import Registered


def enter(page: Page, key: str) -> None:
    """Give the page a token."""
    page.get_by_label("Access token").fill(key)
    page.get_by_role("button", name="Use it").click()


def go_to(page: Page, registered: Registered) -> None:
    """To the files of an unpublished analysis, by the links of the page."""
    page.get_by_role("link", name=registered.study, exact=True).first.click()
    page.get_by_role("link", name=registered.analysis, exact=True).click()
    page.get_by_role("heading", name="unpublished").wait_for()


def offer(page: Page, name: str) -> Locator:
    """Begin the upload of a file; its card."""
    page.get_by_role("button", name=f"Upload {name}", exact=True).click()
    card = card_of(page, name)
    expect(card.get_by_label(f"Choose {name}")).to_be_focused()
    return card


def card_of(page: Page, name: str) -> Locator:
    """The card of an upload."""
    return page.locator(".transfer", has_text=name)


def choose(card: Locator, path: Path) -> None:
    """Choose the file to send."""
    card.locator("input[type=file]").set_input_files(path)


def says(card: Locator, text: str | re.Pattern[str]) -> None:
    """Wait until the card says so."""
    expect(card.locator(".message")).to_contain_text(text)


def wait_for(page: Page, ready: Callable[[], bool]) -> None:
    """Until ``ready``; the browser goes on meanwhile. AssertionError where it does not come."""
    for _ in range(PATIENCE // 20):
        if ready():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it did not happen")

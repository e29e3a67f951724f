"""Chromium for tests of the page, driven by Playwright: the browser of the system, which asks no other host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from score.errors import Misconfigured
from score.testing.components import find

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 15_000
"""Milliseconds for which a test waits for something to appear."""


@dataclass(frozen=True, slots=True)
class Complaints:
    """What the browser says is wrong with a page: errors of scripts, and what its policy did not allow."""

    said: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Keep what is said about a page from now on."""
        page.on("pageerror", lambda error: self.said.append(f"{error}"))
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)

    @property
    def policy(self) -> list[str]:
        """What the Content-Security-Policy did not allow, and errors of scripts; not what servers refused."""
        return [text for text in self.said if not text.startswith("Failed to load resource")]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. Raises Misconfigured where it is not installed.

    While it runs, no other event loop can run in this thread.
    """
    program = find("chromium")
    if program is None:
        raise Misconfigured("Chromium is not installed.", hint="Run: make components")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=[*_FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[tuple[Page, Complaints]]:
    """A page in a context of its own, which shares nothing with others, and what the browser complains of."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    try:
        page = context.new_page()
        complaints = Complaints()
        complaints.listen(page)
        page.goto(url)
        yield page, complaints
    finally:
        context.close()

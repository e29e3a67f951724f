"""Chromium for tests of the page, driven by Playwright: the browser of the system, which asks no other host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

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
_CONTRAST = """() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/^rgba\\(.*, 0\\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility() || element.disabled || element.closest(".skip")) continue;
    const pair = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${element.className} ${ratio.toFixed(2)}: ${element.textContent}`);
  }
  return poor;
}"""


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
    expect.set_options(timeout=PATIENCE)
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


def tab_to(page: Page, place: Locator, most: int = 40) -> None:
    """Press Tab until this has the focus. AssertionError where it never gets it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if place.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"{place} is not reached by {most} times Tab")


def poor_contrast(page: Page) -> list[str]:
    """What of the visible text has less contrast than WCAG 2 AA asks for, 4.5 to 1."""
    found: list[str] = page.evaluate(_CONTRAST)
    return found


def fits(page: Page) -> bool:
    """Whether all of the page is seen without scrolling to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def lines(place: Locator) -> int:
    """In how many lines the text of an element stands."""
    return int(
        place.evaluate(
            """(element) => {
              const range = document.createRange();
              range.selectNodeContents(element);
              return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size;
            }"""
        )
    )


def memory(browser: Browser) -> int:
    """Bytes of memory that all processes of the browser take; what they share counts once."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(_proportional(int(one["id"])) for one in processes)


def _proportional(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


_OPERATED = {"button", "checkbox", "combobox", "heading", "image", "link", "progressbar", "searchbox", "textbox"}


def nameless(page: Page) -> list[str]:
    """The roles of what one operates, reads or looks at, and what has no name in the tree of screen readers."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        role
        for node in nodes
        if not node["ignored"] and (role := node["role"]["value"]) in _OPERATED
        if not node.get("name", {}).get("value", "").strip()
    ]

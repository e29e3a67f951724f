"""The page at ``/``: what it says of the server, to whom, and how it looks to a browser and to people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Browser

from score.auth.embedded import KeyFile
from score.server.build import open_service
from score.server.page import assets
from score.server.settings import Settings
from score.testing.browser import opened
from score.testing.secured import SecuredSite, secured_site
from score.testing.server import RunningServer

pytestmark = pytest.mark.needs("chromium")
LARGEST = 100_000
"""Bytes of all that a browser loads for the page."""
CONTRAST = """() => {
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
"""What of the visible text has less contrast than WCAG 2 AA asks for, 4.5 to 1."""


def serve(folder: Path, **more: object) -> RunningServer:
    chosen = Settings.model_validate({"local.directory": folder, "profiles": ("local",), **more})
    return RunningServer(lambda: open_service(chosen), chosen)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("open")) as server:
        yield server


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredSite]:
    folder = tmp_path_factory.mktemp("secured")
    with secured_site(folder, KeyFile(folder / "keys.sqlite3")) as site:
        yield site


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        yield http


def test_without_scripts_it_says_what_runs_and_how_to_use_it(server: RunningServer, browser: Browser) -> None:
    with opened(browser, server.url, java_script_enabled=False) as (page, _):
        text = page.locator("#status").inner_text()
        for said in ("Version", "the disk of this server", "embedded in this server", "not restricted", server.url):
            assert said in text
        assert page.locator("#summary").inner_text() == "Everything works."
        assert page.locator("#parts li").count() == 4
        commands = page.locator("#commands").inner_text().splitlines()
        assert commands == [f"export STORAGE_URL={server.url}", f"export METADATA_URL={server.url}"]
        assert "needs JavaScript" in page.locator("noscript").inner_text()
        assert not page.locator("#look").is_visible()


def test_it_obeys_its_policy_and_loads_nothing_from_elsewhere(server: RunningServer, browser: Browser) -> None:
    with opened(browser, "about:blank") as (page, complaints):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        answer = page.goto(server.url)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"):
            assert rule in policy.split("; ")
        assert "unsafe" not in policy
        with page.expect_response("**/page/health"):
            page.get_by_role("button", name="Look again").click()
        assert complaints.said == []
        assert len(asked) > 4
        assert [url for url in asked if not url.startswith(server.url)] == []


def test_its_size(server: RunningServer, http: urllib3.PoolManager) -> None:
    """Claim: all of it is at most 100 kB, uncompressed."""
    html = len(http.request("GET", server.url).data)
    files = assets.load()
    assert html + sum(len(asset.content) for asset in files.values()) < LARGEST
    for name, asset in files.items():
        text = asset.content.decode()
        hosts = set(re.findall(r"\bhttps?://[^\s\"'<>]+", text)) - {"http://www.w3.org/2000/svg"}
        assert hosts == set(), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
        assert not re.search(r"\son\w+=|<style|\sstyle=|<script(?! type=\"module\" src=)", text), name


def test_its_files_are_fetched_once(server: RunningServer, http: urllib3.PoolManager) -> None:
    first = http.request("GET", f"{server.url}/page/files/page.css")
    assert (first.status, first.headers["cache-control"]) == (200, "no-cache")
    again = http.request("GET", f"{server.url}/page/files/page.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.data) == (304, b"")
    other = http.request("GET", f"{server.url}/page/files/page.css", headers={"If-None-Match": '"other"'})
    assert other.status == 200
    for name in ("index.html", "none.js", "..%2Froutes.py", "__init__.py"):
        assert http.request("GET", f"{server.url}/page/files/{name}").status == 404
    assert http.request("GET", server.url).headers["cache-control"] == "no-store"
    assert http.request("HEAD", server.url).status == 200


def test_other_answers_keep_their_policy(server: RunningServer, http: urllib3.PoolManager) -> None:
    for path in ("/health", "/swagger-ui.html", "/page/health", "/nothing"):
        policies = http.request("GET", server.url + path).headers.getlist("content-security-policy")
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"]


def test_a_setting_turns_it_off(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with serve(tmp_path, **{"server.page.enabled": "false"}) as server:
        for path in ("/", "/page/health", "/page/files/page.js"):
            answer = http.request("GET", server.url + path)
            assert (answer.status, answer.json()["message"]) == (404, "There is no such call.")


def test_strangers_are_not_told_what_is_wrong_in_detail(tmp_path: Path, browser: Browser) -> None:
    """Hosts and folders are for who may look everywhere."""
    keys = KeyFile(tmp_path / "keys" / "keys.sqlite3")
    with secured_site(tmp_path / "data", keys) as site:
        member = site.make_key("PROGRAMDATA-TEST-CA.READ", "PROGRAMDATA-TEST-CA.WRITE")
        (tmp_path / "data" / "registry.sqlite3").unlink(missing_ok=True)
        (tmp_path / "data" / "registry.sqlite3").mkdir()
        with opened(browser, site.url) as (page, _):
            down = page.locator("#parts .down")
            assert down.locator(".name").all_inner_texts() == ["Registry"]
            assert "The registry does not answer" in down.inner_text()
            assert "score-server check" in page.locator("#summary").inner_text()
            assert str(tmp_path) not in page.content()
        for token, told in ((None, False), (member, False), (site.system, True)):
            answer = site.call("GET", "/page/health", token)
            assert answer.status == 200
            assert (str(tmp_path).encode() in answer.data) is told
        assert site.call("GET", "/page/health", "nonsense").status == 401


def test_a_restricted_server_says_so(secured: SecuredSite, browser: Browser) -> None:
    with opened(browser, secured.url, java_script_enabled=False) as (page, _):
        assert "restricted: callers need tokens (keys of this server)" in page.locator("#status").inner_text()
        assert "export ACCESSTOKEN=YOUR-TOKEN" in page.locator("#commands").inner_text()


def test_a_host_that_is_made_up_is_text(server: RunningServer, http: urllib3.PoolManager) -> None:
    answer = http.request("GET", server.url, headers={"Host": "a<b>.example"})
    assert answer.status == 400
    forwarded = http.request("GET", server.url, headers={"X-Forwarded-Host": "<script>alert(1)</script>"})
    assert b"alert(1)" not in forwarded.data


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone(server: RunningServer, browser: Browser, scheme: str) -> None:
    size = {"width": 360, "height": 740}
    with opened(browser, server.url, viewport=size, color_scheme=scheme) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate(CONTRAST) == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 24, 28)"
        assert dark is (scheme == "dark")


def test_it_is_used_by_keyboard_and_known_to_screen_readers(server: RunningServer, browser: Browser) -> None:
    with opened(browser, server.url) as (page, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "look":
                break
        style = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"{style}.outlineStyle") == "solid"
        with page.expect_response("**/page/health"):
            page.keyboard.press("Enter")
        assert page.get_by_role("banner").count() == page.get_by_role("main").count() == 1
        assert page.get_by_role("contentinfo").count() == 1
        assert page.get_by_role("navigation", name="Sections").is_visible()
        for name in ("This server", "From the command line"):
            assert page.get_by_role("region", name=name).is_visible()
        assert page.locator("[role=status]#summary").count() == 1
        assert page.evaluate("document.documentElement.lang") == "en"

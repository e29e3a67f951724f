"""The page at ``/``: what it says of the server, to whom, and how it looks to a browser and to people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Browser, expect

from score.auth.embedded import KeyFile
from score.server.build import open_service
from score.server.page import assets
from score.server.settings import Settings
from score.testing.browser import fits, opened, poor_contrast, tab_to
from score.testing.proxy import FaultProxy
from score.testing.secured import SecuredSite, secured_site
from score.testing.server import RunningServer

pytestmark = pytest.mark.needs("chromium")
LARGEST = 100_000
"""Bytes of all that a browser loads for the page."""


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


def test_without_scripts_it_says_what_runs_and_how_to_use_it(server: RunningServer, browser: Browser) -> None:
    with opened(browser, server.url, java_script_enabled=False) as (page, _):
        for said in ("Version", "the disk of this server", "embedded in this server", "not restricted", server.url):
            expect(page.locator("#status")).to_contain_text(said)
        expect(page.locator("#summary")).to_have_text("Everything works.")
        expect(page.locator("#parts li")).to_have_count(4)
        expect(page.locator("#commands")).to_have_text(
            f"export STORAGE_URL={server.url}\nexport METADATA_URL={server.url}"
        )
        expect(page.locator("noscript")).to_contain_text("needs JavaScript", use_inner_text=True)
        expect(page.locator("#look")).to_be_hidden()


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
        assert "://" not in policy
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


def test_a_proxy_may_put_it_below_a_path(server: RunningServer, browser: Browser) -> None:
    proxy = FaultProxy(server.url, below="/storage-api")
    with proxy, opened(browser, f"{proxy.url}/") as (page, complaints):
        expect(page.locator("#status .address")).to_have_text(proxy.url)
        expect(page.locator("#commands")).to_contain_text(f"STORAGE_URL={proxy.url}\n")
        with page.expect_response("**/page/health"):
            page.get_by_role("button", name="Look again").click()
        expect(page.locator("#parts li")).to_have_count(4)
        page.get_by_role("link", name="Calls for programs").click()
        page.get_by_role("link", name="/v2/api-docs").click()
        expect(page.locator("body")).to_contain_text("openapi")
        assert not proxy.traffic.seen(status=404)
        assert not complaints.said


def test_a_server_that_is_gone_is_not_shown_as_up(server: RunningServer, browser: Browser) -> None:
    with FaultProxy(server.url) as proxy, opened(browser, proxy.url) as (page, _):
        expect(page.locator("#parts .up")).to_have_count(4)
        look = page.get_by_role("button", name="Look again", exact=True)
        proxy.shut()
        look.click()
        expect(page.locator("#summary")).to_have_text("This server does not answer.")
        expect(page.locator("#parts")).to_be_empty()
        proxy.open()
        look.click()
        expect(page.locator("#parts .up")).to_have_count(4)
        expect(page.locator("#summary")).to_have_text("Everything works.")


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
            expect(down.locator(".name")).to_have_text(["Registry"])
            expect(down).to_contain_text("The registry does not answer")
            expect(page.locator("#summary")).to_contain_text("score-server check")
            assert str(tmp_path) not in page.content()
        for token, told in ((None, False), (member, False), (site.system, True)):
            answer = site.call("GET", "/page/health", token)
            assert answer.status == 200
            assert (str(tmp_path).encode() in answer.data) is told
        assert site.call("GET", "/page/health", "nonsense").status == 401


def test_a_restricted_server_says_so(secured: SecuredSite, browser: Browser) -> None:
    with opened(browser, secured.url, java_script_enabled=False) as (page, _):
        expect(page.locator("#status")).to_contain_text("restricted: callers need tokens (keys of this server)")
        expect(page.locator("#commands")).to_contain_text("export ACCESSTOKEN=YOUR-TOKEN")


def test_a_host_that_is_made_up_is_text(server: RunningServer, http: urllib3.PoolManager) -> None:
    answer = http.request("GET", server.url, headers={"Host": "a<b>.example"})
    assert answer.status == 400
    forwarded = http.request("GET", server.url, headers={"X-Forwarded-Host": "<script>alert(1)</script>"})
    assert b"alert(1)" not in forwarded.data


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone(server: RunningServer, browser: Browser, scheme: str) -> None:
    size = {"width": 320, "height": 740}
    with opened(browser, server.url, viewport=size, color_scheme=scheme) as (page, _):
        assert fits(page)
        assert poor_contrast(page) == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 24, 28)"
        assert dark is (scheme == "dark")


def test_it_is_used_by_keyboard_and_known_to_screen_readers(server: RunningServer, browser: Browser) -> None:
    with opened(browser, server.url) as (page, _):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        look = page.get_by_role("button", name="Look again", exact=True)
        tab_to(page, look)
        expect(look).to_have_css("outline-style", "solid")
        with page.expect_response("**/page/health"):
            page.keyboard.press("Enter")
        for role in ("banner", "main", "contentinfo"):
            expect(page.get_by_role(role)).to_have_count(1)
        expect(page.get_by_role("navigation", name="Sections")).to_be_visible()
        for name in ("This server", "From the command line"):
            expect(page.get_by_role("region", name=name)).to_be_visible()
        expect(page.locator("[role=status]#summary")).to_have_count(1)
        expect(page.locator("html")).to_have_attribute("lang", "en")

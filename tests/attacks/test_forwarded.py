"""Attacks by headers of proxies: they decide nothing, but for the caller's address that a trusted proxy tells."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from score.auth.embedded import KeyFile
from score.server.trail import write_audit_to
from score.testing.secured import SecuredSite, secured_site

LIES = {
    "X-Forwarded-For": "203.0.113.66", "X-Forwarded-Host": "evil.example", "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Proto": "https", "X-Forwarded-Protocol": "https", "X-Forwarded-Ssl": "on", "Front-End-Https": "on",
    "X-Url-Scheme": "https", "X-Forwarded-Port": "4443", "X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil",
    "X-Forwarded-Path": "/evil", "Forwarded": 'for=203.0.113.66;host=evil.example;proto=https;by="[::1]:4443"',
    "X-Real-IP": "203.0.113.66", "X-Client-IP": "203.0.113.66", "True-Client-IP": "203.0.113.66",
    "CF-Connecting-IP": "203.0.113.66", "X-Cluster-Client-IP": "203.0.113.66", "X-Host": "evil.example",
}  # fmt: skip
TRUSTED, UNTRUSTED = "127.0.0.0/8,::1,10.0.0.0/8", "10.0.0.0/8"
Open = Callable[[str], Any]


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Open]:
    """Makes a site that trusts these proxies; its audit lines go to a file."""

    @contextmanager
    def make(proxies: str) -> Iterator[SecuredSite]:
        write_audit_to(str(tmp_path / "audit.log"))
        more = {"server_trustedProxies": proxies, "server_requestsPerToken": "1"}
        with closing(KeyFile(tmp_path / "keys")) as keys, secured_site(tmp_path / "data", keys, **more) as site:
            yield site

    yield make
    write_audit_to("")


def clients(folder: Path) -> list[str]:
    """The addresses of callers in the audit lines so far."""
    return [json.loads(line)["from"] for line in (folder / "audit.log").read_text().splitlines()]


def plain(answer: urllib3.BaseHTTPResponse) -> tuple[int, dict[str, str], str]:
    """What an answer says, without what is another in each."""
    text = re.sub(r'(expires|signature|Expires)=[^&"\s]*', r"\1=", answer.data.decode("utf-8", "replace"))
    text = re.sub(r'"(requestId|timestamp)":\s*("[^"]*"|\d+)', "", text)
    text = re.sub(r"nonce[-=][\"']?[A-Za-z0-9+/=_-]+", "", text)
    fickle = ("x-request-id", "date", "content-length", "etag", "content-security-policy")
    return answer.status, {name: value for name, value in answer.headers.items() if name.lower() not in fickle}, text


@pytest.mark.parametrize("proxies", [UNTRUSTED, TRUSTED])
def test_headers_of_proxies_change_no_answer(open_site: Open, tmp_path: Path, proxies: str) -> None:
    """Neither URLs of the store, nor those of tickets, pages and descriptions; whoever sends them."""
    with open_site(proxies) as site:
        site.populate()
        up, down = site.objects["up", "controlled"], site.objects["down", "controlled"]
        calls = [
            f"/download/{down}?offset=0&length=-1&external=true", "/download/ping",
            f"/upload/{up}/status?fileSize=16",
            f"/htsget/variants/{down}", "/htsget/variants/service-info", "/htsget/reads/service-info", "/",
            "/v2/api-docs", "/swagger-ui.html", f"/upload/{up}/", "/nowhere", "/health", "/profile",
        ]  # fmt: skip
        site.upload_of("controlled")
        for target in calls:
            honest = plain(site.call("GET", target, site.system))
            for given in [LIES, *({name: value} for name, value in LIES.items())]:
                answer = site.call("GET", target, site.system, **given)
                assert plain(answer) == honest, (target, given)
                said = answer.data + str(dict(answer.headers)).encode()
                assert b"evil" not in said
                assert b"203.0.113.66" not in said
        links = re.findall(r"https?://[^/\"\s]+", site.call("GET", calls[0], site.system, **LIES).data.decode())
        assert set(links) == {site.url}
        assert set(clients(tmp_path)) <= {"127.0.0.1", "203.0.113.66"}
        assert ("203.0.113.66" in clients(tmp_path)) is (proxies == TRUSTED)


def test_nobody_else_is_believed_whatever_is_sent(open_site: Open, tmp_path: Path) -> None:
    with open_site(UNTRUSTED) as site:
        site.call("GET", "/store/object/x?signature=0", **LIES)
        site.call("GET", "/store/object/x?signature=0", **{"X-Forwarded-For": "10.0.0.1"})
        site.call("GET", "/store/object/x?signature=0", **{"X-Forwarded-For": "127.0.0.1, 10.0.0.1, ::1"})
        assert clients(tmp_path) == ["127.0.0.1"] * 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["203.0.113.9, 10.1.1.1"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9", "10.1.1.1, 10.1.1.2"], "203.0.113.9"),
        (["203.0.113.9", "6.6.6.6"], "6.6.6.6"),
        (["[2001:db8::9]:4711"], "2001:db8::9"),
        (["[2001:db8::9]"], "2001:db8::9"),
        (["2001:DB8:0:0:0:0:0:9"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9"),
        (["203.0.113.9, [::1]:80"], "203.0.113.9"),
        (["6.6.6.6, garbage"], "127.0.0.1"),
        (["6.6.6.6,"], "127.0.0.1"),
        (["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
        (["6.6.6.6, _hidden"], "127.0.0.1"),
        (['for="6.6.6.6"'], "127.0.0.1"),
        (["6.6.6.6;q=1"], "127.0.0.1"),
        (["0x7f.1"], "127.0.0.1"),
        (["203.0.113.9 10.1.1.1"], "127.0.0.1"),
        (["2130706433"], "127.0.0.1"),
        (["203.0.113.9:port"], "127.0.0.1"),
        (["[203.0.113.9]:80:80"], "127.0.0.1"),
        (["fe80::1%" + "x" * 5000], "127.0.0.1"),
        (['fe80::1%"} from=6.6.6.6'], "127.0.0.1"),
        (["\xff\xfe"], "127.0.0.1"),
        (["x" * 60_000], "127.0.0.1"),
        (["6.6.6.6, " * 6000 + "203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, " + "10.1.1.1, " * 5000 + "10.1.1.1"], "6.6.6.6"),
        (["[" * 60_000], "127.0.0.1"),
        (["1." * 30_000], "127.0.0.1"),
    ],
)
def test_the_last_stranger_is_the_caller(open_site: Open, tmp_path: Path, given: list[str], told: str) -> None:
    """Every proxy appends the one that called it: what stands before the last stranger, he wrote himself."""
    headers = urllib3.HTTPHeaderDict([("X-Forwarded-For", value) for value in given])
    with open_site(TRUSTED) as site:
        answer = site.http.request("GET", f"{site.url}/store/object/x?signature=0", headers=headers)
        assert answer.status == 403
        assert clients(tmp_path) == [told]
        assert len((tmp_path / "audit.log").read_text()) < 1000


@pytest.mark.parametrize("proxies", [UNTRUSTED, TRUSTED])
def test_more_than_a_head_may_have_is_refused(open_site: Open, proxies: str) -> None:
    with open_site(proxies) as site:
        for given in ({"X-Forwarded-For": "6.6.6.6," * 12_500}, {"Forwarded": "for=6.6.6.6," * 8_500}):
            with suppress(urllib3.exceptions.ProtocolError):  # refused while it was still being sent
                assert site.http.request("GET", f"{site.url}/profile", headers=given).status == 400
        assert site.call("GET", "/profile").status == 200


def test_limits_are_those_of_a_token(open_site: Open) -> None:
    """No header makes another caller of the one who is at his limit."""
    with open_site(TRUSTED) as site:
        for number in range(3):
            given = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
            with hung(site, given):
                again = {name: value.replace("203.0.113.", "198.51.100.") for name, value in given.items()}
                assert site.call("POST", "/submit/TEST-CA", site.system, b"{}", **again).status == 503
                assert site.call("GET", "/studies/all", site.system).status == 503


@contextmanager
def hung(site: SecuredSite, given: dict[str, str]) -> Iterator[None]:
    """While a call with the system's token is under way."""
    address = urlsplit(site.url)
    lines = [f"{name}: {value}" for name, value in given.items()]
    head = ["POST /submit/TEST-CA HTTP/1.1", f"Host: {address.netloc}", f"Authorization: Bearer {site.system}"]
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=20) as connection:
        connection.sendall("\r\n".join([*head, *lines, "Content-Length: 2", "Expect: 100-continue", "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100"), "it is under way: its body is asked for"
        yield
        connection.sendall(b"{}")
        assert connection.recv(100), "it is answered, and no longer under way"

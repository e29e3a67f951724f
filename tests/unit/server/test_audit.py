"""Audit lines and the names of requests: who got what, from where, and that nothing secret is in them."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from score.auth.apikeys import fingerprint
from score.errors import Misconfigured
from score.server.build import open_service
from score.server.reading import read_settings
from score.server.trail import write_audit_to
from score.testing.ego import FakeEgo
from score.testing.server import RunningServer

STUDY = "TEST-CA"
DATA = b"controlled bytes"
Call = Callable[..., urllib3.BaseHTTPResponse]


class Site:
    """A secure server with the local store, an Ego, and one controlled file that is registered."""

    def __init__(self, server: RunningServer, ego: FakeEgo, http: urllib3.PoolManager, audit: Path) -> None:
        self.server = server
        self.ego = ego
        self.audit = audit
        self._http = http
        self.key = ego.issue_key("score.WRITE", "score.READ")
        self.call("POST", f"/studies/{STUDY}/", json={"studyId": STUDY})
        md5 = hashlib.md5(DATA).hexdigest()
        file = {
            "fileName": "f",
            "fileSize": len(DATA),
            "fileMd5sum": md5,
            "fileAccess": "controlled",
            "fileType": "X",
        }
        payload = {"studyId": STUDY, "analysisType": {"name": "x"}, "files": [file]}
        self.analysis = self.call("POST", f"/submit/{STUDY}", json=payload).json()["analysisId"]
        files = self.call("GET", f"/studies/{STUDY}/analysis/{self.analysis}/files").json()
        self.object_id = str(files[0]["objectId"])

    def call(
        self, method: str, target: str, *, key: str | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> urllib3.BaseHTTPResponse:
        """A call with the system key, or with another one; none where it is empty."""
        token = self.key if key is None else key
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        return self._http.request(method, self.server.url + target, headers=sent | (headers or {}), **more)

    def upload(self) -> dict[str, Any]:
        """Upload the file to its end; gives its specification."""
        about = f"fileSize={len(DATA)}&md5={hashlib.md5(DATA).hexdigest()}"
        begun: dict[str, Any] = self.call("POST", f"/upload/{self.object_id}/uploads?{about}").json()
        etag = self._http.request("PUT", begun["parts"][0]["url"], body=DATA).headers["etag"].strip('"')
        which = f"uploadId={begun['uploadId']}"
        self.call("POST", f"/upload/{self.object_id}/parts?{which}&partNumber=1&md5={etag}&etag={etag}")
        assert self.call("POST", f"/upload/{self.object_id}?{which}").status == 200
        return begun

    def send(self, *, complete: bool) -> urllib3.BaseHTTPResponse:
        """Upload the file again up to its part, which is told with ``complete``; the answer to that."""
        about = f"fileSize={len(DATA)}&overwrite=true&md5={hashlib.md5(DATA).hexdigest()}"
        self.begun = self.call("POST", f"/upload/{self.object_id}/uploads?{about}").json()
        etag = self._http.request("PUT", self.begun["parts"][0]["url"], body=DATA).headers["etag"].strip('"')
        self.part = f"uploadId={self.begun['uploadId']}&partNumber=1&md5={etag}&etag={etag}"
        return self.call("POST", f"/upload/{self.object_id}/parts?{self.part}&complete={str(complete).lower()}")

    def publish(self) -> None:
        assert self.call("PUT", f"/studies/{STUDY}/analysis/publish/{self.analysis}").status == 200

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The audit lines so far, without their times."""
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00", line.pop("time")) for line in lines)
        return lines


@pytest.fixture
def make_site(tmp_path: Path, http: urllib3.PoolManager) -> Iterator[Callable[..., RunningServer]]:
    """Makes servers; audit lines go to the log again in the end."""

    def make(ego: FakeEgo, *more: str) -> RunningServer:
        arguments = [
            "--spring.profiles.active=local,secure", f"--local.directory={tmp_path / 'data'}",
            f"--auth.server.url={ego.check_url}", f"--auth.server.clientId={ego.client_id}",
            f"--auth.server.clientSecret={ego.client_secret}", f"--server.audit.file={tmp_path / 'audit.log'}", *more,
        ]  # fmt: skip
        settings = read_settings(arguments, {}, tmp_path).settings
        write_audit_to(settings.audit_file)
        return RunningServer(lambda: open_service(settings), settings)

    yield make
    write_audit_to("")


@pytest.fixture
def site(tmp_path: Path, http: urllib3.PoolManager, make_site: Callable[..., RunningServer]) -> Iterator[Site]:
    with FakeEgo() as ego, make_site(ego, "--server.trustedProxies=127.0.0.1") as server:
        yield Site(server, ego, http, tmp_path / "audit.log")


def test_every_url_and_every_deed_has_its_line(site: Site) -> None:
    begun = site.upload()
    site.publish()
    which = f"/download/{site.object_id}"
    answer = site.call("GET", f"{which}?offset=0&length=-1")
    site.call("GET", f"{which}?offset=2&length=5&external=true")
    site.call("GET", f"{which}?offset=0&length=-1&exclude-urls=true")
    site.call("GET", "/download/ping", key="")
    site.call("POST", "/upload/cancel")
    who = {"subject": site.lines[0]["subject"], "key": fingerprint(site.key), "study": STUDY}
    what = {"object": site.object_id, "parts": 1, "bytes": len(DATA), "status": 200, "from": "127.0.0.1"}
    told = [{name: value for name, value in line.items() if name != "request"} for line in site.lines]
    done = {"outcome": "done"}
    assert told[:2] == [
        {"deed": "upload", **done, **who, **what},
        {"deed": "completion", **done, **who, **what},
    ]
    downloads = [line for line in told if line["deed"] == "download"]
    assert downloads == [{"deed": "download", **done, **who, **what}] * 2
    assert [line["deed"] for line in told].count("ping") == 1
    assert told[-1]["deed"] == "cancellation"
    site.call("POST", f"/upload/{site.object_id}?uploadId={begun['uploadId']}")
    again = site.lines[-1]
    assert (again["deed"], again["parts"], again["bytes"]) == ("completion", 1, len(DATA)), "a repeated one too"
    assert site.lines[2]["request"] == answer.headers["x-request-id"]
    text = site.audit.read_text()
    for secret in (site.key, urlsplit(begun["parts"][0]["url"]).query.rpartition("=")[2], "signature", "http://"):
        assert secret not in text


def test_a_part_that_completes_is_told_as_a_completion_if_it_was_one(site: Site) -> None:
    answer = site.send(complete=True)
    assert (answer.status, answer.data) == (200, b"completed")
    assert (site.lines[-1]["deed"], site.lines[-1]["outcome"]) == ("completion", "done")
    assert site.send(complete=False).data == b""
    site.publish()
    before = site.lines
    answer = site.call("POST", f"/upload/{site.object_id}/parts?{site.part}&complete=true")
    assert (answer.status, answer.data) == (200, b"")
    assert site.lines == before
    assert site.call("POST", f"/upload/{site.object_id}?uploadId={site.begun['uploadId']}").status == 400
    assert (site.lines[-1]["deed"], site.lines[-1]["outcome"]) == ("completion", "failed")


def test_refusals_cancellations_and_failures(site: Site) -> None:
    other = site.ego.issue_key("PROGRAMDATA-OTHER-CA.READ", "PROGRAMDATA-OTHER-CA.WRITE")
    start = f"/upload/{site.object_id}/uploads?fileSize=16&md5=&token=hunter2"
    assert site.call("POST", start, key="").status == 401
    assert site.call("POST", start, key=other).status == 403
    assert site.call("POST", start).status == 200
    assert site.call("GET", "/store/object/data/x?expires=1&signature=00", key="").status == 403
    assert site.call("DELETE", f"/upload/{site.object_id}").status == 200
    assert site.call("DELETE", f"/upload/{site.object_id}").status == 404
    unknown, foreign, begun, plane, cancelled, gone = site.lines
    call = f"POST /upload/{site.object_id}/uploads"
    assert (unknown["outcome"], unknown["status"], unknown["call"]) == ("refused", 401, call)
    assert "subject" not in unknown
    assert (foreign["outcome"], foreign["status"], foreign["call"]) == ("refused", 403, call)
    assert (foreign["key"], foreign["study"]) == (fingerprint(other), STUDY)
    assert begun["outcome"] == "done"
    assert (plane["status"], plane["call"]) == (403, "GET /store/object/data/x")
    assert (cancelled["deed"], cancelled["outcome"]) == ("cancellation", "done")
    assert (gone["deed"], gone["outcome"], gone["status"]) == ("cancellation", "failed", 404)
    assert "hunter2" not in site.audit.read_text()


def test_the_file_is_its_owners_and_may_be_moved_away(site: Site, tmp_path: Path) -> None:
    site.call("GET", "/download/ping")
    assert stat.S_IMODE(site.audit.stat().st_mode) == 0o600
    site.audit.rename(tmp_path / "audit.log.1")
    site.call("GET", "/download/ping")
    assert len(site.lines) == len((tmp_path / "audit.log.1").read_text().splitlines()) == 1
    assert stat.S_IMODE(site.audit.stat().st_mode) == 0o600


def test_lines_are_appended_to_what_is_there(tmp_path: Path, http: urllib3.PoolManager, make_site: Any) -> None:
    (tmp_path / "audit.log").write_text("before\n")
    with FakeEgo() as ego, make_site(ego) as server:
        http.request("GET", f"{server.url}/download/ping")
    before, line = (tmp_path / "audit.log").read_text().splitlines()
    assert before == "before"
    assert json.loads(line)["deed"] == "ping"


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"server\.audit\.file"):
        write_audit_to(str(tmp_path / "nowhere" / "audit.log"))
    write_audit_to("")


def test_a_line_that_cannot_be_written_goes_to_the_log(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.audit.unlink()
    site.audit.mkdir()
    assert site.call("GET", "/download/ping").status == 200
    (said,) = [record.message for record in caplog.records if "cannot be written" in record.message]
    assert '"deed":"ping"' in said


def test_without_a_file_lines_go_to_the_log(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings([f"--local.directory={tmp_path}"], {}, tmp_path).settings
    with RunningServer(lambda: open_service(settings), settings) as server:
        http.request("GET", f"{server.url}/download/ping")
    (line,) = [json.loads(record.message) for record in caplog.records if record.name == "score.audit"]
    assert line["deed"] == "ping"


@pytest.mark.parametrize("good", ["a", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "Root=1-67:x.y_z", "x" * 64])
def test_the_name_of_a_request_is_the_callers_where_it_is_sane(site: Site, good: str) -> None:
    if "=" in good:
        good = good.replace("=", ".")
    answer = site.call("GET", "/upload/x", headers={"X-Request-Id": good})
    assert answer.headers["x-request-id"] == answer.json()["requestId"] == good


def test_refusals_of_the_data_plane_name_their_request(site: Site) -> None:
    answer = site.call("GET", "/store/object/data/x?signature=0", key="", headers={"X-Request-Id": "my-name"})
    assert b"<RequestId>my-name</RequestId></Error>" in answer.data


@pytest.mark.parametrize("bad", ["", "a b", 'a"b', "x" * 65, "a\tb", "ä", "{}", "a=b"])
def test_other_names_are_replaced(site: Site, bad: str) -> None:
    answer = site.call("GET", "/upload/x", headers={"X-Request-Id": bad.encode().decode("latin-1")})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert answer.headers["x-request-id"] == answer.json()["requestId"]


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 127.0.0.1", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ('6.6.6.6, evil"}', "127.0.0.1"),
        ("", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_callers_address_is_what_trusted_proxies_say(site: Site, forwarded: str, address: str) -> None:
    site.call("GET", "/download/ping", headers={"X-Forwarded-For": forwarded})
    assert site.lines[-1]["from"] == address


def test_nobody_else_is_believed_about_addresses(tmp_path: Path, http: urllib3.PoolManager, make_site: Any) -> None:
    for more in ([], ["--server.trustedProxies=10.0.0.0/8, 192.0.2.1"]):
        with FakeEgo() as ego, make_site(ego, *more) as server:
            http.request("GET", f"{server.url}/download/ping", headers={"X-Forwarded-For": "203.0.113.9"})
        assert json.loads((tmp_path / "audit.log").read_text().splitlines()[-1])["from"] == "127.0.0.1"


def test_no_line_is_longer_than_it_has_to_be(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Logs cannot be filled by addresses of any length."""
    with caplog.at_level(logging.INFO):
        site.call("GET", f"/store/object/{'x' * 60_000}?signature=0", key="")
        site.call("POST", f"/submit/{'x' * 60_000}", key="")
    assert [line["status"] for line in site.lines[-2:]] == [403, 401]
    assert len(site.audit.read_text()) < 3000
    assert sum(len(record.getMessage()) for record in caplog.records if record.name == "score.access") < 3000


def test_no_line_can_be_forged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What callers write stays within the text of one field."""
    with caplog.at_level(logging.INFO):
        site.call("GET", '/upload/x%0A{"deed":"forged"}%22,%22', key="")
        site.call("GET", "/store/object/%0a%7B%22deed%22%3A1%7D?signature=0", key="")
    assert all(line["outcome"] == "refused" for line in site.lines)
    logged = [record.getMessage() for record in caplog.records if record.name == "score.access"]
    assert logged
    assert not any("\n" in line for line in logged)

"""The id of a request: from the caller to the store, to Song the authorization server, and back in messages."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3

from score.testing.azurite import azurite_site
from score.testing.ego import FakeEgo
from score.testing.faults import Answer
from score.testing.secured import secured_site
from score.testing.site import Site, local_site, s3_site

if TYPE_CHECKING:
    from score.testing.azurite import Azurite
    from score.testing.ceph import Ceph
    from score.testing.minio import Minio

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
NAME = "of.the-caller:1"


def follow(opened: AbstractContextManager[Site], folder: Path, http: urllib3.PoolManager) -> list[dict[str, str]]:
    """Start an upload under an id of the caller's; the headers of the calls to the store, which took all of them."""
    with opened as site:
        file = folder / "a.txt"
        file.write_bytes(b"x" * 100)
        registered = site.register([file])
        assert site.song
        store = site.behind or site.store
        for traffic in (store, site.song.traffic):
            traffic.forget()
        url = f"{site.server.url}/upload/{registered.id}/uploads?fileSize=100"
        answer = http.request("POST", url, headers={"X-Request-Id": NAME})
        assert (answer.status, answer.headers["X-Request-Id"]) == (200, NAME)
        assert [call.headers.get("x-request-id") for call in site.song.traffic.seen()] == [NAME, NAME]
        calls = store.seen()
        assert len(calls) >= 2
        assert all(call.status in (200, 201, 204, 404) for call in calls)
        assert NAME in site.server.output
        return [dict(call.headers) for call in calls]


@pytest.mark.needs("minio")
@pytest.mark.parametrize("version", ["true", "false"])
def test_to_minio(tmp_path: Path, minio: Minio, http: urllib3.PoolManager, version: str) -> None:
    site = s3_site(tmp_path, minio, s3_sigV4Enabled=version)
    assert {headers["x-request-id"] for headers in follow(site, tmp_path, http)} == {NAME}


@pytest.mark.needs("ceph")
@pytest.mark.parametrize("version", ["true", "false"])
def test_to_ceph(tmp_path: Path, ceph: Ceph, http: urllib3.PoolManager, version: str) -> None:
    site = s3_site(tmp_path, ceph, s3_sigV4Enabled=version)
    assert {headers["x-request-id"] for headers in follow(site, tmp_path, http)} == {NAME}


@pytest.mark.needs("azurite")
def test_to_azure(tmp_path: Path, azurite: Azurite, http: urllib3.PoolManager) -> None:
    found = follow(azurite_site(tmp_path, azurite), tmp_path, http)
    assert {(one["x-request-id"], one["x-ms-client-request-id"]) for one in found} == {(NAME, NAME)}


def test_in_the_message_of_a_client(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"x")
    with local_site(tmp_path / "site") as site:
        registered = site.register([file])
        download = ("download", "--object-id", registered.id, "--output-dir", tmp_path / "back")
        said = site.run(*download, status=3).stderr
        (found,) = set(re.findall(r"is UNPUBLISHED, not PUBLISHED\. \(request ([0-9a-f]{16})\)", said))
        assert found in site.server.output
        assert "Publish the analysis: score-client publish" in said
        site.score.inject(Answer(500, b"{}", {"X-Request-Id": "a b <c>"}), path="/download/")
        assert "(request" not in site.run(*download, status=3).stderr, "nothing that is no id"


def test_to_the_authorization_server(tmp_path: Path) -> None:
    with FakeEgo() as ego, secured_site(tmp_path, ego) as site:
        site.call("GET", f"/upload/{OBJECT}", ego.issue_key("score.WRITE"), **{"X-Request-Id": NAME})
        assert [call.headers["x-request-id"] for call in ego.traffic.seen(method="POST")][-1] == NAME

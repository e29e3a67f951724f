"""How often the authorization server is asked, and what happens while it is away, with real parts."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from score.auth.embedded import KeyFile
from score.testing.authorization import MEMBER
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.faults import Answer
from score.testing.secured import secured_site
from score.testing.site import STUDY, local_site

PARTS = 2000
PART = 5 * 1024 * 1024


@pytest.mark.parametrize("kind", [FakeEgo, FakeKeycloak])
def test_an_upload_of_2000_parts_asks_once(kind: Callable[[], FakeEgo | FakeKeycloak], tmp_path: Path) -> None:
    """Claim: an upload of 2,000 parts asks the authorization server once per cache life, for a key or a JWT."""
    settings = {"auth_cache_seconds": 3600, "upload_partsize": PART}
    with kind() as server, secured_site(tmp_path, server, **settings) as site:
        _, identity = site.register("large.bam", study=STUDY)
        site.http = urllib3.PoolManager(maxsize=16, retries=False, timeout=60)
        tokens = [site.make_key(*MEMBER), server.issue_jwt(*MEMBER)]
        for token in tokens:
            before = len(server.traffic.seen(method="POST"))
            started = site.call(
                "POST", f"/upload/{identity}/uploads?fileSize={PARTS * PART}&overwrite=true", token
            ).json()
            assert len(started["parts"]) == PARTS
            asked = len(server.traffic.seen(method="POST"))
            asks = isinstance(server, FakeKeycloak) or token == tokens[0]  # Ego's JWTs say themselves what they allow
            assert asked - before == int(asks)

            def finish(number: int, upload: str = started["uploadId"], token: str = token) -> int:
                query = f"partNumber={number}&uploadId={upload}&md5={'0' * 32}&etag={'0' * 32}"
                return int(site.call("POST", f"/upload/{identity}/parts?{query}", token).status)

            with ThreadPoolExecutor(8) as pool:  # parts that were not sent: refused after the scope was looked at
                assert set(pool.map(finish, range(1, PARTS + 1))) == {400}
            assert site.call("DELETE", f"/upload/{identity}", token).status == 200
            assert len(server.traffic.seen(method="POST")) == asked
        site.http.clear()


def test_without_a_cache_every_call_asks(tmp_path: Path) -> None:
    """Claim: with auth.cache.seconds=0 a revocation counts at once."""
    with FakeEgo() as ego, secured_site(tmp_path, ego, auth_cache_seconds=0) as site:
        key = site.make_key("a.READ")
        for _ in range(3):
            assert site.call("GET", "/listing", key).status == 200
        ego.revoke(key)
        assert site.call("GET", "/listing", key).status == 401
        assert len(ego.traffic.seen(path="/check_api_key")) == 4


def test_a_revoked_key_works_for_as_long_as_it_is_remembered_and_no_longer(tmp_path: Path) -> None:
    with closing(KeyFile(tmp_path / "keys")) as keys, secured_site(tmp_path, keys, auth_cache_seconds=1) as site:
        key = site.make_key("a.READ")
        assert site.call("GET", "/listing", key).status == 200
        keys.revoke(key)
        while (status := site.call("GET", "/listing", key).status) == 200:
            pass
        assert status == 401


def test_503_with_retry_after_when_nobody_can_tell(tmp_path: Path) -> None:
    """Claim: while the authorization server fails, callers get 503 with Retry-After after the configured retries;
    what needs no token goes on; nobody is let in."""
    with FakeEgo() as ego:
        given = {"auth_connection_maxRetries": 2, "auth_connection_initialBackoff": 1, "auth_cache_seconds": 0}
        with secured_site(tmp_path, ego, **given) as site:
            site.populate()
            key = site.make_key("score.READ")
            target = f"/download/{site.objects['down', 'controlled']}?offset=0&length=-1"
            for broken in ("fails", "is away"):
                if broken == "fails":
                    ego.traffic.inject(Answer.unavailable(), path="/check_api_key", times=None)
                else:
                    ego.shut()
                check_away(site.call("GET", target, key))
                if broken == "fails":
                    assert len(ego.traffic.seen(path="/check_api_key", status=503)) == 3
                submitted = site.call("POST", "/submit/TEST-CA", key, b"{}")
                assert (submitted.status, submitted.headers["retry-after"]) == (503, "5"), "as Song words it"
                assert site.call("GET", f"/download/{site.objects['down', 'open']}?offset=0&length=-1").status == 200
                assert site.call("GET", target).status == 403
                health = site.call("GET", "/health").json()
                assert health["components"]["authorization"]["status"] == "DOWN"
            ego.open()
            ego.traffic.heal()
            assert site.call("GET", target, key).status == 200


def check_away(answer: Any) -> None:
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["retry-after"]) >= 1
    assert "authorization server" in answer.json()["message"]


def test_an_upload_survives_the_authorization_server(tmp_path: Path) -> None:
    """Claim: the authorization server may go away in the middle of a running upload: the upload survives."""
    payload = tmp_path / "reads.bam"
    payload.write_bytes(random.Random(5).randbytes(4 * PART + 5))
    with FakeEgo() as ego:
        settings = {
            "spring_profiles_active": "local,secure",
            "auth_server_url": ego.check_url,
            "auth_server_clientId": ego.client_id,
            "auth_server_clientSecret": ego.client_secret,
            "auth_cache_seconds": "0",
            "auth_connection_maxRetries": "1",
            "auth_connection_initialBackoff": "50",
        }
        key = ego.issue_key("score.WRITE")
        with local_site(tmp_path / "site", **settings) as site:
            site.token = key
            files = site.register([payload])
            gate = site.score.hold(method="POST", path="/parts$", part=3)
            client = site.start(
                "upload", "--manifest", files.manifest, accessToken=key, transport_parallel="1",
                storage_retryNumber="200", storage_retryTimeout="0.1",
            )  # fmt: skip
            with client:
                gate.wait_for_arrival()
                ego.shut()
                gate.open()
                site.score.wait_for(method="POST", path="/parts$", status=503)
                ego.open()
                client.conclude(0)
            assert site.has_object(files.id)
            assert "asking again" in site.server.output
            assert site.score.seen(method="POST", path="/parts$", part=3, status=200)

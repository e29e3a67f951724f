"""The figures of authorization: what it costs the server, and an upload that outlives its authorization server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import measure
import urllib3
from figures import MIB, Findings, Goal, figure
from lab import Lab
from service import cpu_seconds

from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.secured import client_of
from score.testing.site import STUDY, Registered, Site, local_site

CALLS = 3000
AWAY = 30
"""Seconds for which the authorization server is away."""
MEMBER = (f"PROGRAMDATA-{STUDY}.READ", f"PROGRAMDATA-{STUDY}.WRITE")


@contextmanager
def secured(folder: Path, keys: FakeEgo | FakeKeycloak) -> Iterator[Site]:
    """A real server that asks ``keys`` whose token it is."""
    settings = {"spring_profiles_active": "local,secure"}
    settings |= {name.replace(".", "_"): str(value) for name, value in client_of(keys).items()}
    if isinstance(keys, FakeEgo):
        settings["spring_security_oauth2_resourceserver_jwt_publickeylocation"] = keys.public_key_url
    else:
        settings["auth_server_provider"] = "keycloak"
        settings |= {"auth_server_keycloak_host": keys.url, "auth_server_keycloak_realm": keys.realm}
    with local_site(folder, **settings) as site:
        site.token = keys.issue_key("score.READ", "score.WRITE")
        yield site


def cost(site: Site, identity: str, token: str) -> float:
    """Processor time of the server for one call that does nothing but decide."""
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{site.server.url}/upload/test/{identity}"
    with urllib3.PoolManager(retries=False) as http:
        while (answer := http.request("GET", url, headers=headers)).status == 503:
            time.sleep(0.1)
        before = cpu_seconds(site.server.pid)
        for _ in range(CALLS):
            answer = http.request("GET", url, headers=headers)
        if answer.status != 200:
            raise measure.Failed(f"The call was answered {answer.status}: {answer.data!r}")
        return (cpu_seconds(site.server.pid) - before) / CALLS


@figure("authorization")
def authorization(lab: Lab) -> Findings:
    """Processor time for deciding, warm, with a study's scope: a call under ``secure`` less one without it."""
    findings = Findings()
    payload = lab.folder / "file.bin"
    payload.write_bytes(b"four")
    with ExitStack() as stack:
        ego, keycloak = stack.enter_context(FakeEgo()), stack.enter_context(FakeKeycloak())
        plain = stack.enter_context(local_site(lab.folder / "auth-open"))
        with_ego = stack.enter_context(secured(lab.folder / "auth-ego", ego))
        with_keycloak = stack.enter_context(secured(lab.folder / "auth-keycloak", keycloak))
        asked = {
            "no authorization": (plain, "x"),
            "API key, Ego": (with_ego, ego.issue_key(*MEMBER)),
            "JWT, Ego": (with_ego, ego.issue_jwt(*MEMBER)),
            "API key, Keycloak": (with_keycloak, keycloak.issue_key(*MEMBER)),
            "JWT, Keycloak": (with_keycloak, keycloak.issue_jwt(*MEMBER)),
        }
        ids = {id(site): site.register([payload]).id for site, _ in asked.values()}
        rounds: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(lab.scale.rounds + 1):
            for name, (site, token) in asked.items():
                rounds[name].append(cost(site, ids[id(site)], token))
    base = rounds["no authorization"][1:]
    for name, found in rounds.items():
        if name == "no authorization":
            continue
        more = median(mine - other for mine, other in zip(found[1:], base, strict=True))
        limit = 0.0001 if "key" in name else 0.0002
        what = f"Server CPU of authorization per request, warm, {name}"
        findings.goals.append(Goal(what, f"{more * 1000:.3f} ms", more, limit, f"{limit * 1000:.1f} ms"))
        findings.raw[what] = found[1:]
    return findings


@figure("authorization-away")
def authorization_away(lab: Lab) -> Findings:
    """An upload in whose middle the authorization server is away, with the default settings of server and client."""
    payload = lab.folder / "away.bin"
    payload.write_bytes(bytes(MIB) * 60)
    with FakeEgo() as ego, secured(lab.folder / "auth-away", ego) as site:
        files: Registered = site.register([payload])
        key = ego.issue_key(*MEMBER)
        gate = site.score.hold(method="POST", path="/parts$", part=2)
        begun = time.perf_counter()
        words = ("upload", "--manifest", files.manifest)
        defaults = {"storage_retryNumber": "10", "storage_retryTimeout": "1"}
        with site.start(*words, accessToken=key, transport_parallel="1", **defaults) as client:
            gate.wait_for_arrival()
            site.server.kill()  # a new one remembers no key
            site.server.start(checked=False)
            ego.shut()
            gate.open()
            time.sleep(AWAY)
            ego.open()
            client.conclude(0)
        seconds = time.perf_counter() - begun
        there = site.has_object(files.id)
    what = f"Upload with the authorization server away for {AWAY} s: lost"
    lost = 0 if there else 1
    return Findings([Goal(what, f"{lost} uploads", lost, 0, "0")], raw={f"{what}, seconds": [seconds]})

"""The figures of authorization: what it costs the server, and an upload that outlives its authorization server."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from figures import MIB, Findings, Goal, figure
from lab import Lab
from starlette.requests import Request

from score.errors import Unavailable
from score.metadata.embedded import EmbeddedRegistry
from score.server.build import open_service
from score.server.routes import bearer
from score.server.settings import JWT, Settings
from score.testing.ego import FakeEgo
from score.testing.fake_keycloak import FakeKeycloak
from score.testing.secured import client_of
from score.testing.site import STUDY, Registered, Site, local_site

CALLS = 20_000
AWAY = 30
"""Seconds for which the authorization server is away."""
MEMBER = (f"PROGRAMDATA-{STUDY}.READ", f"PROGRAMDATA-{STUDY}.WRITE")


@contextmanager
def secured(folder: Path, keys: FakeEgo) -> Iterator[Site]:
    """A real server that asks ``keys`` whose token it is."""
    settings = {"spring_profiles_active": "local,secure"}
    settings |= {name.replace(".", "_"): str(value) for name, value in client_of(keys).items()}
    with local_site(folder, **settings) as site:
        site.token = keys.issue_key("score.READ", "score.WRITE")
        yield site


async def cost(lab: Lab, keys: FakeEgo | FakeKeycloak, tokens: dict[str, str]) -> dict[str, list[float]]:
    """Processor time of this process for one decision on an upload, with a study's scope, as a call makes it."""
    given = {
        **client_of(keys),
        **realm_of(keys),
        "local.directory": lab.folder / "auth",
        "profiles": ("local", "secure"),
    }
    settings = Settings.model_validate(given)
    service = await open_service(settings)
    access, registry = service.broker.access, service.registry
    assert isinstance(registry, EmbeddedRegistry)
    found: dict[str, list[float]] = {}
    try:
        if STUDY not in await registry.studies():
            await registry.create_study(STUDY, {})
        file = {"fileName": uuid.uuid4().hex, "fileSize": 1, "fileMd5sum": "0" * 32, "fileAccess": "controlled"}
        analysis = await registry.submit(STUDY, {"studyId": STUDY, "files": [file]})
        (registered,) = await registry.files(STUDY, analysis)
        for name, token in tokens.items():
            headers = [(b"host", b"x"), (b"authorization", f"Bearer {token}".encode())]
            request = Request({"type": "http", "headers": headers})
            while True:
                with suppress(Unavailable):  # the keys of JWTs are on their way
                    await access.upload(bearer(request), registered["objectId"])
                    break
                await asyncio.sleep(0.05)
            found[name] = []
            for _ in range(lab.scale.rounds):
                begun = time.process_time()
                for _ in range(CALLS):
                    await access.upload(bearer(Request({"type": "http", "headers": headers})), registered["objectId"])
                found[name].append((time.process_time() - begun) / CALLS)
    finally:
        await service.close()
    return found


def realm_of(keys: FakeEgo | FakeKeycloak) -> dict[str, object]:
    """The settings for JWTs."""
    if isinstance(keys, FakeEgo):
        return {f"{JWT}.public-key-location": keys.public_key_url}
    realm = {"auth.server.keycloak.host": keys.url, "auth.server.keycloak.realm": keys.realm}
    return {"auth.server.provider": "keycloak", **realm}


@figure("authorization")
def authorization(lab: Lab) -> Findings:
    """Processor time for deciding on a call, warm: the token out of its header, its owner, the study, the scope."""
    findings = Findings()
    for kind in (FakeEgo, FakeKeycloak):
        with kind() as keys:
            tokens = {"API key": keys.issue_key(*MEMBER), "JWT": keys.issue_jwt(*MEMBER)}
            for name, rounds in asyncio.run(cost(lab, keys, tokens)).items():
                limit = 0.0001 if "key" in name else 0.0002
                what = f"Server CPU of authorization per request, warm, {name}, {kind.__name__.removeprefix('Fake')}"
                each = median(rounds)
                findings.goals.append(Goal(what, f"{each * 1000:.4f} ms", each, limit, f"{limit * 1000:.1f} ms"))
                findings.raw[what] = rounds
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

"""One object at hand, in the registry and in the store, and ways to fetch it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import Outcome, State
from score.errors import Refused, ScoreError
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

ANALYSIS = "a11aca11-0000-4000-8000-000000000020"
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
INDEX = "5c0eca11-0000-4000-8000-000000000021"
OTHER = "5c0eca11-0000-4000-8000-000000000022"
PART = 64 * 1024
DATA = random.Random(3).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()
MakeClient = Callable[..., Client]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def registered(site: FaultyScore, song: FakeSong) -> None:
    song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT)
    site.fake.add(OBJECT, DATA)


def fetch(client: Client, out: Path, *ids: str, **options: object) -> list[Outcome]:
    return client.download(ids or [OBJECT], out, **options)  # type: ignore[arg-type]


def failure(client: Client, out: Path, *ids: str, **options: object) -> ScoreError:
    """The error with which the download of one object ended."""
    (outcome,) = fetch(client, out, *ids, **options)
    assert outcome.state is State.FAILED
    assert outcome.error is not None
    return outcome.error


def interrupt(client: Client, site: FaultyScore, out: Path, *, finished: int = 3, **options: object) -> set[str]:
    """Leave a download behind of which so many parts are finished, as a kill would; their ranges."""
    site.traffic.inject(Answer(400), path="/store/", skip=finished, times=None)
    assert isinstance(failure(client, out, **options), Refused)
    site.traffic.heal()
    done = {e.range for e in site.traffic.seen(path="/store/", status=206)}
    assert len(done) == finished
    site.traffic.forget()
    return done


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))

"""Where there are no keys in the settings: what the usual AWS ways give."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from score.errors import Misconfigured, Unavailable
from score.storage.s3.client import S3Client
from score.storage.s3.credentials import ChainKeys
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.aws_metadata import AwsMetadata
from score.testing.faults import Answer


@pytest.fixture(autouse=True)
def aws_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of this machine's own AWS settings, and no call to instance metadata."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def temporary_keys(folder: Path, life: timedelta) -> None:
    """A profile whose keys come from a program, as with SSO, and counts its calls in the access key."""
    program = folder / "keys.py"
    program.write_text(
        "import json, pathlib\n"
        f"calls = pathlib.Path({str(folder / 'calls')!r})\n"
        "number = int(calls.read_text()) + 1 if calls.exists() else 1\n"
        "calls.write_text(str(number))\n"
        + "print(json.dumps({'Version': 1, 'AccessKeyId': f'access-{number}', 'SecretAccessKey': 's', "
        + f"'SessionToken': 't', 'Expiration': {json.dumps((datetime.now(UTC) + life).isoformat())}}}))\n"
    )
    (folder / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    keys = asyncio.run(ChainKeys().fresh())
    assert (keys.access_key, keys.secret_key, keys.token, keys.expires) == ("access", "secret", "token", None)
    assert ChainKeys().current() == keys


def test_profile(aws_folder: Path) -> None:
    (aws_folder / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = s\n")
    assert asyncio.run(ChainKeys().fresh()).access_key == "a"


def test_none() -> None:
    with pytest.raises(Misconfigured, match=r"s3\.accessKey"):
        asyncio.run(ChainKeys().fresh())


def test_a_chain_that_breaks(aws_folder: Path) -> None:
    (aws_folder / "config").write_text("[default]\ncredential_process = /bin/false\n")
    with pytest.raises(Unavailable):
        asyncio.run(ChainKeys().fresh())


def test_temporary_keys_are_renewed_before_they_expire(aws_folder: Path) -> None:
    temporary_keys(aws_folder, timedelta(minutes=5))
    times = count(0, 60)
    chain = ChainKeys(clock=lambda: float(next(times)))

    async def many() -> list[str]:
        first = [(await chain.fresh()).access_key]
        temporary_keys(aws_folder, timedelta(hours=2))
        return first + [keys.access_key for keys in await asyncio.gather(*(chain.fresh() for _ in range(5)))]

    first, *later = asyncio.run(many())
    assert len(set(later)) == 1
    assert later[0] != first
    assert chain.current().access_key == later[0]


def test_a_url_lives_no_longer_than_its_keys(aws_folder: Path) -> None:
    temporary_keys(aws_folder, timedelta(hours=2))
    store = S3Store(S3Client(S3Settings("http://store.example.org")), "bucket")
    (url,) = store.sign_gets("data/key", [None], timedelta(days=1))
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Security-Token"] == ["t"]
    assert 7000 < int(query["X-Amz-Expires"][0]) <= 7200
    (url,) = store.sign_gets("data/key", [None], timedelta(minutes=1))
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["60"]


@pytest.fixture(params=["instance", "container"])
def metadata(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsMetadata]:
    """A metadata service that the environment leads to."""
    with AwsMetadata() as metadata:
        for name, value in getattr(metadata, request.param).items():
            monkeypatch.setenv(name, value)
        yield metadata


def test_keys_of_a_role(metadata: AwsMetadata) -> None:
    metadata.give("a", "s", "t", timedelta(hours=6))
    keys = asyncio.run(ChainKeys().fresh())
    assert (keys.access_key, keys.secret_key, keys.token) == ("a", "s", "t")
    assert keys.expires is not None
    assert abs(keys.expires - datetime.now(UTC) - timedelta(hours=6)) < timedelta(minutes=1)


def test_keys_of_a_role_are_renewed_before_they_expire(metadata: AwsMetadata) -> None:
    """Asked for now and then, not at each of many calls: the service has new ones when it likes."""
    metadata.give("old", "s", "t", timedelta(minutes=8))
    now = 0.0
    chain = ChainKeys(clock=lambda: now)
    keys = asyncio.run(chain.fresh())
    assert keys.access_key == "old"
    assert keys.expires is not None
    assert keys.expires <= datetime.now(UTC) + timedelta(minutes=8)
    asked = len(metadata.traffic.seen())
    for _ in range(50):
        assert asyncio.run(chain.fresh()).access_key == "old"
    assert len(metadata.traffic.seen()) == asked
    metadata.give("new", "s", "t", timedelta(hours=6))
    now += 10
    assert asyncio.run(chain.fresh()).access_key == "new"
    assert chain.current().access_key == "new"


def test_a_metadata_service_that_fails_leaves_the_keys_that_work(metadata: AwsMetadata) -> None:
    metadata.give("old", "s", "t", timedelta(minutes=13))
    now = 0.0
    chain = ChainKeys(clock=lambda: now)
    asyncio.run(chain.fresh())
    metadata.traffic.inject(Answer(404), times=None)
    now += 10
    assert asyncio.run(chain.fresh()).access_key == "old"

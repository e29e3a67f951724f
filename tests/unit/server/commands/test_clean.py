"""``score-server clean``."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from score.server.build import Service
from score.testing.azurite import Azurite
from score.testing.minio import Minio
from score.testing.song import FakeSong

from .conftest import DATA, Place, client, on_azure, on_s3, waiting_blocks


@pytest.mark.needs("azurite")
def test_clean_on_azure(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """State with blocks, state alone and blocks alone go; objects, and blocks of other programs, stay."""
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_azure(azurite, azurite.origin, song), capsys)
        whole, state, blocks, kept = (str(uuid.uuid4()) for _ in range(4))
        place.begin(whole)
        place.begin(state)

        async def put(service: Service) -> None:
            await service.objects.put(kept, DATA)

        place.within(put)
        container = place.settings[-2].partition("=")[2]
        for name in (whole, blocks, kept, "other"):
            azurite.call(
                "PUT", f"{container}/{name}", [("comp", "block"), ("blockid", "AAAA")], body=b"waits", status=201
            )
        assert place.run("clean") == (0, "0 stale uploads removed, 0 could not be.\n")
        place.settings += ["--s3.upload.expiration=0"]
        _, out = place.run("clean", "--dry-run")
        assert all(one in out for one in (whole, state, blocks))
        assert kept not in out
        assert place.run("clean") == (0, "3 stale uploads removed, 0 could not be.\n")
        assert place.stored() == {kept, "heliograph"}
        waiting = {name: waiting_blocks(azurite, container, name) for name in (whole, blocks, "other")}
        assert waiting == {whole: 0, blocks: 0, "other": 1}


def test_clean_tells_and_then_does(place: Place) -> None:
    object_id = str(uuid.uuid4())
    upload = place.begin(object_id)
    assert place.run("clean") == (0, "0 stale uploads removed, 0 could not be.\n")
    place.settings = [*place.settings, "--s3.upload.expiration=0"]
    status, out = place.run("clean", "--dry-run")
    assert status == 0
    assert f"would remove the upload {upload} of {object_id}" in out
    assert place.run("clean", "--dry-run")[1] == out, "nothing was removed"
    assert place.run("clean") == (0, "1 stale uploads removed, 0 could not be.\n")
    assert not [key for key in place.stored() if object_id in key]


@pytest.mark.needs("minio")
def test_clean_reaches_the_buckets_from_before_a_pool(
    minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with FakeSong() as song:
        place = Place(tmp_path, on_s3(minio, song), capsys)
        before, after = (str(uuid.uuid4()) for _ in range(2))
        left = place.begin(before)
        for name in (found.partition("=")[2] for found in place.settings if "bucket.name" in found):
            for number in range(2):
                client(minio).create_bucket(Bucket=f"{name}.{number}")
        place.settings += ["--bucket.size.pool=2", "--s3.upload.expiration=0"]
        begun = place.begin(after)
        _, out = place.run("clean", "--dry-run")
        assert f"the upload {left} of {before}" in out
        assert f"the upload {begun} of {after}" in out
        assert place.run("clean") == (0, "2 stale uploads removed, 0 could not be.\n")
        bucket = place.settings[3].partition("=")[2]
        uploads = client(minio).list_multipart_uploads(Bucket=bucket, Prefix=f"data/{before}")
        assert "Uploads" not in uploads
        assert not any(before in key or after in key for key in place.stored())

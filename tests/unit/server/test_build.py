"""What the settings of an S3 store come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from score.server.build import s3_settings
from score.server.reading import Reading, read_settings
from score.storage.s3.settings import S3Settings

NEEDED = {
    "s3.endpoint": "store.example.org:8080",
    "bucket.name.object": "objects",
    "bucket.name.state": "state",
    "metadata.url": "http://song.example.org",
}


def read(folder: Path, **given: str) -> Reading:
    """Settings, given with ``_`` for ``.``, next to those that no start does without."""
    named = {**NEEDED, **{name.replace("_", "."): value for name, value in given.items()}}
    return read_settings([f"--{name}={value}" for name, value in named.items()], {}, folder)


def built(folder: Path, **given: str) -> S3Settings:
    return s3_settings(read(folder, **given).settings)


def test_the_scheme_follows_s3_secured(tmp_path: Path) -> None:
    assert built(tmp_path).origin == "https://store.example.org:8080"
    assert built(tmp_path, s3_secured="false").origin == "http://store.example.org:8080"
    assert built(tmp_path, s3_secured="false", s3_endpoint="https://s").origin == "https://s"


def test_signatures_keys_and_hosts(tmp_path: Path) -> None:
    assert built(tmp_path).version == 4
    assert built(tmp_path, s3_sigV4Enabled="false").version == 2
    assert built(tmp_path, s3_masterEncryptionKeyId="key").kms_key == "key"
    assert built(tmp_path, s3_region="eu-west-9").signing_region == "eu-west-9"
    shown = built(tmp_path, s3_preSignedUrl_override_host="http://public.example.org:81")
    assert shown.url_origin == "http://public.example.org:81"
    assert (shown.access_key, shown.secret_key) == ("", "")
    given = built(tmp_path, s3_accessKey="access", s3_secretKey="secret")
    assert (given.access_key, given.secret_key) == ("access", "secret")


@pytest.mark.parametrize(("version", "warned"), [("true", True), ("false", False)])
def test_only_version_4_cuts_the_life_of_urls(tmp_path: Path, version: str, warned: bool) -> None:
    said = read(tmp_path, s3_upload_expiration="30", s3_sigV4Enabled=version).warnings
    assert any("7 days" in warning for warning in said) is warned


def test_version_2_and_encryption_do_not_go_together(tmp_path: Path) -> None:
    said = read(tmp_path, s3_sigV4Enabled="false", s3_masterEncryptionKeyId="key").warnings
    assert any("version 4" in warning for warning in said)

"""The page for sites that come from the Java server: complete as to its settings, and its configuration works."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from score.broker.state import read_record, read_specification
from score.server.reading import KNOWN_PROFILES, read_settings
from score.storage.s3.settings import S3Settings
from score.testing.pages import blocks_of, follow
from score.testing.processes import clean_environment, free_port
from score.testing.s3_contract import boto
from score.testing.song import FakeSong

if TYPE_CHECKING:
    from score.testing.minio import Minio

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "coming-from-java-server.md"

_NAMES = """
server.port server.ssl.enabled server.ssl.key-store server.cors.allowedOrigins
s3.secured s3.endpoint s3.accessKey s3.secretKey s3.sigV4Enabled s3.masterEncryptionKeyId s3.customMd5Property
s3.upload.directory s3.upload.expiration s3.data.directory s3.download.expiration s3.preSignedUrl.override.host
bucket.name.object bucket.name.state bucket.size.pool bucket.size.key bucket.policy.upload bucket.policy.download
upload.partsize upload.retry.limit upload.connection.timeout upload.clean.cron upload.clean.enabled
download.partsize object.sentinel
azure.endpointProtocol azure.accountName azure.accountKey
metadata.url metadata.useLegacyMode
auth.server.provider auth.server.url auth.server.tokenName auth.server.clientId auth.server.clientSecret
auth.server.scope.download.system auth.server.scope.upload.system
auth.server.scope.download.study.prefix auth.server.scope.download.study.suffix
auth.server.scope.upload.study.prefix auth.server.scope.upload.study.suffix
auth.server.keycloak.host auth.server.keycloak.realm
auth.connection.maxRetries auth.connection.initialBackoff auth.connection.multiplier
spring.security.oauth2.resourceserver.jwt.public-key-location spring.security.oauth2.resourceserver.jwt.jwk-set-uri
spring.profiles.active
"""
REFERENCE = _NAMES.split()
"""Every setting of the reference's server."""


def test_every_setting_of_the_reference_is_told_of() -> None:
    rows = re.findall(r"^\| (`.+?) \| .+ \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert [name for name in REFERENCE if name not in told] == []


def test_every_setting_of_the_reference_is_one_here(tmp_path: Path) -> None:
    """None is warned of as unknown, whatever it is set to."""
    reading = read_settings([], {name.upper().replace(".", "_"): "" for name in REFERENCE}, tmp_path, complete=False)
    assert [one for one in reading.warnings if "is no setting" in one] == []


def test_every_profile_of_the_reference_is_told_of() -> None:
    (row,) = re.findall(r"^\| `spring.profiles.active` \| .+ \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == KNOWN_PROFILES


@pytest.mark.needs("minio")
def test_the_configuration_of_the_reference_is_taken_as_it_is(minio: Minio, tmp_path: Path) -> None:
    (properties,) = [block.text for block in blocks_of(PAGE) if block.kind == "properties"]
    (commands,) = [block.text for block in blocks_of(PAGE) if block.kind == "sh"]
    assert commands.splitlines()[-1] == "score-server"
    with FakeSong() as song:
        instead = {
            "http://localhost:9000": minio.endpoint,
            "abc12345": minio.secret_key,
            '"abc123"': f'"{minio.access_key}"',
            '"objects"': '"migrated-objects"',
            '"state"': '"migrated-state"',
            "http://localhost:8080": song.url,
            '"5431"': f'"{free_port()}"',
        }
        for printed, ours in instead.items():
            assert printed in properties
            properties = properties.replace(printed, ours)
        with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
            for name in ("migrated-objects", "migrated-state"):
                s3.create_bucket(Bucket=name)
            s3.put_object(Bucket="migrated-objects", Key="data/heliograph", Body=b"here")
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "application.properties").write_text(properties, "utf-8")
        said = follow(commands.removesuffix("score-server\n"), tmp_path, clean_environment(tmp_path))
    assert "WRONG" not in said
    assert "s3.endpoint" in said
    assert "ok     URLs for clients" in said


def test_the_documents_in_the_buckets_are_read_as_they_are_shown() -> None:
    page = DOCS / "stored-state.md"
    (document,) = [block.text for block in blocks_of(page) if block.kind == "json"]
    (record,) = [block.text for block in blocks_of(page) if block.kind == "text"]
    shown = json.loads(document)
    assert read_specification(document.encode(), f"{shown['objectKey']}.meta").object_size == 788716
    key = record.strip().replace("<32 hex digits>", "0" * 32).replace("<ETag>", "1" * 32)
    part = read_record(key)
    assert part is not None
    assert part.part_number == 1

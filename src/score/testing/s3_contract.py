"""The suite of every store for a service that speaks S3; the way past the store is boto3, a library for tests only.

A subclass gives the service as ``settings``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from score.storage.base import ObjectStore
from score.storage.s3.client import S3Client
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.minio import Minio
from score.testing.store_contract import Run, StoreContract


def boto(settings: S3Settings) -> Any:
    """boto3's client of a service, always with signature version 4."""
    return boto3.client(
        "s3",
        endpoint_url=settings.origin,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        region_name=settings.signing_region,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


def encrypt(s3: Any, bucket: str, key: str) -> None:
    """Let a bucket encrypt whatever comes by SSE-KMS with this key, as its owner may, by boto3's client."""
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)


def role(minio: Minio, **asked: Any) -> Any:
    """Keys that MinIO gives for a while; what they may do is limited by ``Policy``."""
    root = {"aws_access_key_id": minio.access_key, "aws_secret_access_key": minio.secret_key}
    with closing(boto3.client("sts", endpoint_url=minio.endpoint, region_name="us-east-1", **root)) as sts:
        return sts.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="any", **asked)["Credentials"]


def take_role(minio: Minio, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the environment's keys those of a role that may do what the policy says."""
    keys = role(minio, Policy=policy)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])


class BotoAside:
    """A new bucket by boto3."""

    def __init__(self, settings: S3Settings) -> None:
        self.bucket = f"contract-{uuid.uuid4()}"
        self.s3 = boto(settings)
        self.s3.create_bucket(Bucket=self.bucket)

    def put(self, key: str, data: bytes, **more: Any) -> None:
        """Write an object; ``more`` goes to boto3, as ``Metadata``."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **more)

    def get(self, key: str) -> bytes | None:
        """The object's bytes, None where there is none."""
        try:
            body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return body

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of all objects whose key starts with ``prefix``."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextmanager
def opened(
    settings: S3Settings, bucket: str, run: Run, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[ObjectStore]:
    """A bucket as a store, until the end of the block."""
    store = S3Store(S3Client(settings, clock=clock), bucket)
    try:
        yield store
    finally:
        run(store.close())


class S3Contract(StoreContract):
    """The suite, with all that it needs but ``settings``."""

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls) -> S3Settings:
        raise NotImplementedError("a subclass gives the service")

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, settings: S3Settings) -> Iterator[BotoAside]:
        aside = BotoAside(settings)
        yield aside
        aside.s3.close()

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, run: Run, settings: S3Settings, aside: BotoAside) -> Iterator[ObjectStore]:
        with opened(settings, aside.bucket, run) as store:
            yield store

    @pytest.fixture(scope="class")
    @classmethod
    def late_store(cls, run: Run, settings: S3Settings, aside: BotoAside) -> Iterator[ObjectStore]:
        with opened(settings, aside.bucket, run, lambda: datetime.now(UTC) - timedelta(minutes=10)) as store:
            yield store

"""The S3 store against MinIO."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from score.storage.base import ObjectStore
from score.storage.s3.client import S3Client
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.store_contract import Run, StoreContract

if TYPE_CHECKING:
    from score.testing.minio import Minio

pytestmark = pytest.mark.needs("minio")


class BotoAside:
    """A bucket by boto3."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.bucket = f"contract-{uuid.uuid4()}"
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )
        self.s3.create_bucket(Bucket=self.bucket)

    def put(self, key: str, data: bytes, **more: Any) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **more)

    def get(self, key: str) -> bytes | None:
        try:
            body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return body

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


class TestS3OnMinio(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, minio: Minio) -> S3Settings:
        return S3Settings(minio.endpoint, minio.access_key, minio.secret_key)

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, settings: S3Settings) -> Iterator[BotoAside]:
        aside = BotoAside(settings.endpoint, settings.access_key, settings.secret_key)
        yield aside
        aside.s3.close()

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, run: Run, settings: S3Settings, aside: BotoAside) -> Iterator[ObjectStore]:
        store = S3Store(S3Client(settings), aside.bucket)
        yield store
        run(store.close())

    @pytest.fixture(scope="class")
    @classmethod
    def late_store(cls, run: Run, settings: S3Settings, aside: BotoAside) -> Iterator[ObjectStore]:
        client = S3Client(settings, clock=lambda: datetime.now(UTC) - timedelta(minutes=10))
        store = S3Store(client, aside.bucket)
        yield store
        run(store.close())

"""A pool of buckets must do what one bucket does, and put everything where the reference looks for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest

from score.broker.buckets import PooledStore, names_of
from score.broker.state import Layout
from score.errors import Refused
from score.storage.base import ObjectStat, ObjectStore
from score.storage.s3.client import S3Client
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.s3_contract import BotoAside, S3Contract
from score.testing.store_contract import Run, collect

if TYPE_CHECKING:
    from score.testing.ceph import Ceph
    from score.testing.minio import Minio

POOL = 3


class PoolAside(BotoAside):
    """All buckets of a pool by boto3, by the rule of the protocol: the first two hex digits, modulo the pool."""

    def __init__(self, settings: S3Settings) -> None:
        super().__init__(settings)
        for number in range(POOL):
            self.s3.create_bucket(Bucket=f"{self.bucket}.{number}")

    def home(self, key: str) -> BotoAside:
        """The bucket of a key."""
        other = object.__new__(BotoAside)
        other.s3, other.bucket = self.s3, self.bucket
        name = key.removeprefix("data/").removeprefix("upload/")[:36]
        try:
            uuid.UUID(name)
        except ValueError:
            return other
        if key.partition(name)[2][:1] in ("", ".", "_"):
            other.bucket = f"{self.bucket}.{int(name[:2], 16) % POOL}"
        return other

    def put(self, key: str, data: bytes, **more: object) -> None:
        self.home(key).put(key, data, **more)

    def get(self, key: str) -> bytes | None:
        return self.home(key).get(key)

    def delete(self, key: str) -> None:
        self.home(key).delete(key)

    def keys(self, prefix: str = "") -> list[str]:
        found = []
        for bucket in (self.bucket, *(f"{self.bucket}.{number}" for number in range(POOL))):
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            found += [item["Key"] for page in pages for item in page.get("Contents", [])]
        return sorted(found)


def pooled(client: S3Client, bucket: str) -> PooledStore:
    return PooledStore(
        S3Store(client, bucket), [S3Store(client, name) for name in names_of(bucket, POOL)], 2, Layout()
    )


class PoolContract(S3Contract):
    heads_name_buckets: ClassVar[bool] = False
    """Whether the answer to HEAD, which has no body, says that it is the bucket that is missing."""

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, settings: S3Settings) -> Iterator[PoolAside]:
        aside = PoolAside(settings)
        yield aside
        aside.s3.close()

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, run: Run, settings: S3Settings, aside: PoolAside) -> Iterator[ObjectStore]:
        store = pooled(S3Client(settings), aside.bucket)
        yield store
        run(store.close())

    @pytest.fixture(scope="class")
    @classmethod
    def late_store(cls, run: Run, settings: S3Settings, aside: PoolAside) -> Iterator[ObjectStore]:
        store = pooled(S3Client(settings, clock=lambda: datetime.now(UTC) - timedelta(minutes=10)), aside.bucket)
        yield store
        run(store.close())

    def test_everything_of_an_object_lies_in_its_bucket(self, run: Run, store: ObjectStore, aside: PoolAside) -> None:
        for identity in ("0A000000-0000-4000-8000-00000000000%d", "fe000000-0000-4000-8000-00000000000%d"):
            one, number = identity % 1, int(identity[:2], 16) % POOL
            keys = [f"data/{one}", f"data/{one}.meta", f"upload/{one}_an-upload/.meta", f"upload/{one}_an-upload/x|y"]
            for key in keys:
                run(store.put(key, b"1"))
                aside.s3.head_object(Bucket=f"{aside.bucket}.{number}", Key=key)
        run(store.put("data/heliograph", b"1"))
        aside.s3.head_object(Bucket=aside.bucket, Key="data/heliograph")

    def test_an_object_in_two_buckets_is_listed_once(self, run: Run, store: ObjectStore, aside: PoolAside) -> None:
        key = f"data/{uuid.uuid4()}"
        aside.put(key, b"of the pool")
        aside.s3.put_object(Bucket=aside.bucket, Key=key, Body=b"older")
        listed = [entry for entry in run(collect(store.scan("data/"))) if entry.key == key]
        assert [entry.size for entry in listed if isinstance(entry, ObjectStat)] == [len(b"of the pool")]

    def test_a_bucket_that_is_not_there(self, run: Run, settings: S3Settings, aside: PoolAside) -> None:
        store = PooledStore(
            S3Store(S3Client(settings), aside.bucket), [S3Store(S3Client(settings), "not-there.0")], 2, Layout()
        )
        probe = run(store.probe())
        assert not probe.ok
        assert "not-there.0" in probe.problem
        key = f"data/{uuid.uuid4()}"
        with pytest.raises(Refused, match="Create the bucket"):
            run(store.get(key))
        if self.heads_name_buckets:
            with pytest.raises(Refused, match="Create the bucket"):
                run(store.stat(key))
        run(store.close())


@pytest.mark.needs("minio")
class TestPoolOnMinio(PoolContract):
    clears = True
    heads_name_buckets = True

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, minio: Minio) -> S3Settings:
        return S3Settings(minio.endpoint, minio.access_key, minio.secret_key)


@pytest.mark.needs("ceph")
class TestPoolOnCeph(PoolContract):
    keeps = False

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, ceph: Ceph) -> S3Settings:
        return S3Settings(ceph.endpoint, ceph.access_key, ceph.secret_key)

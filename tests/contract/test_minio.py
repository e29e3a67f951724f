"""The S3 store against MinIO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from score.errors import Refused
from score.storage.base import ObjectStore, StoredPart
from score.storage.s3.client import S3Client
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.s3_contract import BotoAside, S3Contract, encrypt
from score.testing.store_contract import MINUTE, Run, Web, md5, plan

if TYPE_CHECKING:
    from score.testing.minio import Minio

pytestmark = pytest.mark.needs("minio")


class TestS3OnMinio(S3Contract):
    clears = True

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, minio: Minio) -> S3Settings:
        return S3Settings(minio.endpoint, minio.access_key, minio.secret_key)

    def test_a_folder_of_a_bucket_with_locks_is_not_cleared(
        self, run: Run, settings: S3Settings, aside: BotoAside, key: str
    ) -> None:
        name = f"{aside.bucket}-locked"
        aside.s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        aside.s3.put_object(Bucket=name, Key=f"{key}/a", Body=b"1")
        store = S3Store(S3Client(settings), name)
        assert run(store.stat(f"{key}/a"))
        assert not run(store.clear(f"{key}/"))
        assert run(store.stat(f"{key}/a"))
        run(store.close())


class TestS3OnMinioBySigV2(S3Contract):
    clears = True

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, minio: Minio) -> S3Settings:
        return S3Settings(minio.endpoint, minio.access_key, minio.secret_key, version=2)


class TestS3OnMinioWithEncryption(S3Contract):
    """SSE-KMS: ETags are no MD5s."""

    clears = True

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls) -> Iterator[S3Settings]:
        from score.testing.minio import running_minio

        with running_minio(kms_key="score-key") as minio:
            yield S3Settings(minio.endpoint, minio.access_key, minio.secret_key, kms_key="score-key")

    def test_parts_and_objects_are_encrypted(
        self, run: Run, store: ObjectStore, aside: BotoAside, web: Web, key: str
    ) -> None:
        upload = run(store.begin(key))
        (url,) = store.sign_parts(key, upload, plan(5), MINUTE)
        answer = web.put(url, b"12345")
        assert answer.headers["x-amz-server-side-encryption"] == "aws:kms"
        etag = answer.headers["ETag"].strip('"')
        assert etag != md5(b"12345")
        run(store.complete(key, upload, [StoredPart(1, 5, etag)]))
        head = aside.s3.head_object(Bucket=aside.bucket, Key=key)
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"].endswith("score-key")

    def test_a_key_that_the_store_does_not_know(
        self, run: Run, settings: S3Settings, aside: BotoAside, key: str
    ) -> None:
        store = S3Store(S3Client(replace(settings, kms_key="another-key")), aside.bucket)
        with pytest.raises(Refused, match=r"s3\.masterEncryptionKeyId"):
            run(store.begin(key))
        run(store.close())


class TestS3OnMinioInAnEncryptedBucket(S3Contract):
    """SSE-KMS by the bucket itself, which no setting tells of."""

    clears = True

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls) -> Iterator[S3Settings]:
        from score.testing.minio import running_minio

        with running_minio(kms_key="score-key") as minio:
            yield S3Settings(minio.endpoint, minio.access_key, minio.secret_key)

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls, settings: S3Settings) -> Iterator[BotoAside]:
        aside = BotoAside(settings)
        encrypt(aside.s3, aside.bucket, "score-key")
        yield aside
        aside.s3.close()

    def test_etags_are_no_md5s(self, run: Run, store: ObjectStore, key: str) -> None:
        assert not run(store.etags_are_md5(key))

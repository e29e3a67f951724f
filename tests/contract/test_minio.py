"""The S3 store against MinIO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from score.storage.s3.settings import S3Settings
from score.testing.s3_contract import S3Contract

if TYPE_CHECKING:
    from score.testing.minio import Minio

pytestmark = pytest.mark.needs("minio")


class TestS3OnMinio(S3Contract):
    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, minio: Minio) -> S3Settings:
        return S3Settings(minio.endpoint, minio.access_key, minio.secret_key)

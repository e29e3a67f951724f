"""The S3 store against Ceph's gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from score.storage.s3.settings import S3Settings
from score.testing.s3_contract import S3Contract

if TYPE_CHECKING:
    from score.testing.ceph import Ceph

pytestmark = pytest.mark.needs("ceph")


class TestS3OnCeph(S3Contract):
    keeps = False

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, ceph: Ceph) -> S3Settings:
        return S3Settings(ceph.endpoint, ceph.access_key, ceph.secret_key)


class TestS3OnCephBySigV2(S3Contract):
    keeps = False

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, ceph: Ceph) -> S3Settings:
        return S3Settings(ceph.endpoint, ceph.access_key, ceph.secret_key, version=2)

"""Settings of S3 stores, from the client's command to the bytes in the bucket and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from score.protocol.parts import MIB
from score.testing.site import Site, md5_of, s3_site

if TYPE_CHECKING:
    from score.testing.ceph import Ceph
    from score.testing.minio import Minio

Maker = Callable[[str, int], Path]
SIZE = 11 * MIB


def there_and_back(site: Site, path: Path, out: Path) -> str:
    """Upload, publish and download a file of three parts; the object id."""
    files = site.register([path])
    site.run("upload", "--manifest", files.manifest)
    assert site.has_object(files.id)
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", out)
    assert md5_of(out / path.name) == md5_of(path)
    return files.id


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in ("minio", "ceph")])
def service(request: pytest.FixtureRequest) -> Minio | Ceph:
    service: Minio | Ceph = request.getfixturevalue(request.param)
    return service


def test_signature_version_2(service: Minio | Ceph, make_file: Maker, tmp_path: Path) -> None:
    with s3_site(tmp_path, service, s3_sigV4Enabled="false") as site:
        identity = there_and_back(site, make_file("reads.bam", SIZE), tmp_path / "out")
        assert site.behind
        assert all(call.headers["authorization"].startswith("AWS ") for call in site.behind.seen())
        for call in [*site.sent(identity), *site.fetched(identity)]:
            assert parse_qs(call.query).keys() >= {"AWSAccessKeyId", "Expires", "Signature"}


@pytest.mark.needs("minio")
def test_server_side_encryption(make_file: Maker, tmp_path: Path) -> None:
    """The ETags of encrypted parts are no MD5s: neither client nor server may compare them."""
    from score.testing.minio import running_minio

    with (
        running_minio(kms_key="site-key") as minio,
        s3_site(tmp_path, minio, s3_masterEncryptionKeyId="site-key") as site,
    ):
        identity = there_and_back(site, make_file("reads.bam", SIZE), tmp_path / "out")
        assert site.behind
        (begun,) = site.behind.seen(method="POST", query="uploads")
        assert begun.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "site-key"
        assert len(site.sent(identity)) == 3

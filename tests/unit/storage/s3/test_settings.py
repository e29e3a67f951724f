from __future__ import annotations

import pytest

from score.errors import Misconfigured
from score.storage.s3.settings import S3Settings


@pytest.mark.parametrize(
    ("endpoint", "secured", "origin"),
    [
        ("http://localhost:9000", True, "http://localhost:9000"),
        ("https://store.example.org/", False, "https://store.example.org"),
        ("store.example.org", True, "https://store.example.org"),
        ("store.example.org:8080", False, "http://store.example.org:8080"),
        ("http://[::1]:9000", True, "http://[::1]:9000"),
        ("", True, "https://s3.us-east-1.amazonaws.com"),
    ],
)
def test_origin(endpoint: str, secured: bool, origin: str) -> None:
    assert S3Settings(endpoint, secured=secured).origin == origin
    assert S3Settings(endpoint, secured=secured).url_origin == origin


@pytest.mark.parametrize(
    ("endpoint", "region", "signing"),
    [
        ("http://localhost:9000", "", "us-east-1"),
        ("http://localhost:9000", "de-south-7", "de-south-7"),
        ("s3.eu-central-1.amazonaws.com", "", "eu-central-1"),
        ("https://s3-eu-west-2.amazonaws.com", "", "eu-west-2"),
        ("https://s3.dualstack.ap-southeast-1.amazonaws.com/", "", "ap-southeast-1"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "", "us-gov-west-1"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "", "cn-north-1"),
        ("https://s3.amazonaws.com", "", "us-east-1"),
        ("https://s3.eu-central-1.amazonaws.com.evil.example.org", "", "us-east-1"),
        ("", "eu-central-1", "eu-central-1"),
    ],
)
def test_region(endpoint: str, region: str, signing: str) -> None:
    assert S3Settings(endpoint, region=region).signing_region == signing


@pytest.mark.parametrize(
    ("endpoint", "region", "secured", "address"),
    [
        ("", "eu-central-1", True, "https://s3.eu-central-1.amazonaws.com"),
        ("", "us-gov-west-1", True, "https://s3.us-gov-west-1.amazonaws.com"),
        ("", "cn-north-1", True, "https://s3.cn-north-1.amazonaws.com.cn"),
        ("", "eu-west-9", False, "http://s3.eu-west-9.amazonaws.com"),
        ("store.example.org:8080/s3/", "eu-central-1", True, "https://store.example.org:8080/s3"),
    ],
)
def test_an_empty_endpoint_is_that_of_amazon_in_the_region(
    endpoint: str, region: str, secured: bool, address: str
) -> None:
    assert S3Settings(endpoint, region=region, secured=secured).address == address


@pytest.mark.parametrize(
    ("override", "origin"),
    [
        ("data.example.org", "http://data.example.org"),
        ("data.example.org:8443", "http://data.example.org:8443"),
        ("https://data.example.org", "https://data.example.org"),
        ("https://data.example.org:443/", "https://data.example.org:443"),
    ],
)
def test_the_host_of_urls(override: str, origin: str) -> None:
    settings = S3Settings("http://minio:9000", url_host=override)
    assert settings.origin == "http://minio:9000"
    assert settings.url_origin == origin


@pytest.mark.parametrize(
    "given",
    [
        {"endpoint": "ftp://store"},
        {"endpoint": "http://"},
        {"endpoint": "http://store:port"},
        {"endpoint": "http://user:password@store"},
        {"endpoint": "http://store?query"},
        {"endpoint": "http://store", "url_host": "https://data.example.org/path"},
        {"endpoint": "http://store", "url_host": "ftp://data.example.org"},
        {"endpoint": "", "region": "evil.example.org/"},
        {"endpoint": "", "region": "x@evil.example.org"},
        {"endpoint": "", "region": "Frankfurt"},
        {"endpoint": "http://store", "access_key": "only"},
        {"endpoint": "http://store", "secret_key": "only"},
    ],
)
def test_what_cannot_be(given: dict[str, str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        S3Settings(**given)  # type: ignore[arg-type]
    assert "only" not in str(caught.value).split()


def test_a_path_before_the_bucket_is_kept() -> None:
    assert S3Settings("https://gateway.example.org/s3/").base_path == "/s3"
    assert S3Settings("https://gateway.example.org").base_path == ""


def test_secrets_do_not_show() -> None:
    shown = repr(S3Settings("http://store", "access", "my-secret", "my-token"))
    assert "my-secret" not in shown
    assert "my-token" not in shown

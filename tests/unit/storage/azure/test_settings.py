"""Where a container of Azure is, where no setting names its endpoint."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from score.protocol.parts import Span
from score.server.build import azure_settings
from score.server.settings import Settings
from score.storage.azure.client import AzureClient
from score.storage.azure.store import AzureStore
from score.storage.base import PlannedPart, UploadId

MINUTE = timedelta(minutes=1)


def chosen(**more: str) -> Settings:
    given = {
        "azure.accountName": "acct",
        "azure.accountKey": base64.b64encode(b"key").decode(),
        "bucket.name.object": "cont",
    }
    return Settings.model_validate(given | {name.replace("_", "."): value for name, value in more.items()})


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ({}, "https://acct.blob.core.windows.net"),
        ({"azure_endpointProtocol": "https"}, "https://acct.blob.core.windows.net"),
        ({"azure_endpointProtocol": "HTTP"}, "http://acct.blob.core.windows.net"),
        (
            {"azure_endpointProtocol": "http", "azure_endpoint": "https://blob.example/acct/"},
            "https://blob.example/acct",
        ),
    ],
)
def test_the_address_of_calls_and_of_urls(given: dict[str, str], base: str) -> None:
    settings = azure_settings(chosen(**given))
    assert settings.base == base

    async def sign() -> list[str]:
        store = AzureStore(AzureClient(settings))
        try:
            parts = [PlannedPart(1, Span(0, 1))]
            return store.sign_gets("a b", [None], MINUTE) + store.sign_parts("a b", UploadId("u"), parts, MINUTE)
        finally:
            await store.close()

    for url in asyncio.run(sign()):
        assert url.startswith(f"{base}/cont/a%20b?")
        assert {"sig", "sv"} <= parse_qs(urlsplit(url).query).keys()

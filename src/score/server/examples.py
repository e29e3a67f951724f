"""What operators leave as it stands in the published examples, and what they mistake there."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from score.config.sources import Values
from score.server.settings import FIELDS, Settings

_ENCRYPTED = re.compile(r"ENC\(.*\)|\{cipher\}.*")
"""How libraries of Java (Jasypt, Spring Cloud) mark a value that they decrypt."""
_TO_FILL_IN = re.compile(r"<[^<>]+>|\{\{[^{}]+\}\}")


def left_to_do(settings: Settings, values: Values) -> list[str]:
    """Warnings about places that were not filled in, values that are encrypted, and an endpoint with a path."""
    said = [
        f"{alias} ({value.origin}) is {value.text!r}, which is a place to fill in."
        for alias in FIELDS
        if (value := values.get(alias)) is not None and _TO_FILL_IN.fullmatch(value.text)
    ]
    said += [
        f"{alias} ({value.origin}) is encrypted, as for Jasypt or Spring Cloud, and is not decrypted here: set what"
        " it stands for."
        for alias in FIELDS
        if (value := values.get(alias)) is not None and _ENCRYPTED.fullmatch(value.text)
    ]
    endpoint = settings.s3_endpoint if settings.store == "s3" else ""
    path = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").path.rstrip("/")
    if path:
        said.append(f"s3.endpoint has the path {path!r}, which will stand before each bucket: few stores want that.")
    return said

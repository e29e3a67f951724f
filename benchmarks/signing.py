"""The figure of signed URLs: how many one core makes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

from figures import PART, Findings, Goal, figure
from lab import Lab

from score.protocol.parts import MOST_PARTS, Span
from score.storage.s3.signing import Credentials, Resource, Signer, encode_path
from score.storage.s3.sigv2 import SigV2
from score.storage.s3.sigv4 import SigV4

WANTED = 100_000
"""URLs a second."""
_KEYS = Credentials("minio", "minio123")
_LIFE = 86_400


@figure("signing")
def signing(lab: Lab) -> Findings:
    """URLs for 10,000 parts: processor time of making them, each signature for itself."""
    identity = "5c0e0000-0000-4000-8000-000000000001"
    resource = Resource("http://127.0.0.1:9000", encode_path("objects", f"data/{identity}"))
    upload = "MzBiOWZhYjgtMzA3ZS00MGNmLTk3NmQtNWZjZTRmZWI5NmFjLjBiYTk1MzQ3Njk0NzAxNzE1NDQ3"
    numbers = range(1, MOST_PARTS + 1)
    spans = [Span(PART * number, PART) for number in range(MOST_PARTS)]
    now = datetime.now(UTC)

    def parts(signer: Signer) -> Callable[[], list[str]]:
        return lambda: signer.sign_parts(_KEYS, resource, upload, numbers, _LIFE, now)

    kinds = {
        "PUT of parts, SigV4": parts(SigV4("us-east-1")),
        "GET of ranges, SigV4": lambda: SigV4("us-east-1").sign_gets(_KEYS, resource, spans, _LIFE, now),
        "PUT of parts, SigV2": parts(SigV2()),
    }
    findings = Findings()
    for kind, sign in kinds.items():
        sign()  # warm
        each = []
        for _ in range(max(5, lab.scale.rounds)):
            begun = time.process_time()
            assert len(set(sign())) == MOST_PARTS
            each.append((time.process_time() - begun) / MOST_PARTS)
        cost = median(each)
        what = f"Signed URLs, {kind}, one core"
        findings.goals.append(Goal(what, f"{1 / cost:,.0f}/s", cost, 1 / WANTED, f"{WANTED:,}/s"))
        findings.raw[what] = each
    return findings

"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

from score.testing.secrecy import secret

# No test times anything: how long an example takes is the machine's affair.
settings.register_profile("score", deadline=None)
settings.load_profile("score")

secret("720dffc1-628f-49f2-992f-f09b8ba2ae2a")  # the token of the client in these tests

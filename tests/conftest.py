"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test times anything: how long an example takes is the machine's affair.
settings.register_profile("score", deadline=None)
settings.load_profile("score")

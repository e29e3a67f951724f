"""Headers that go from a request to the calls that are made for it: its id, and its trace where there is one.

Whoever answers a request sets them; whoever calls another service on its behalf sends them along. They are not
signed, so that a proxy may replace or drop them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

ONWARD: ContextVar[Mapping[str, str]] = ContextVar("onward", default=MappingProxyType({}))
"""Names in lower case; none outside of any request."""
REQUEST_ID = "x-request-id"

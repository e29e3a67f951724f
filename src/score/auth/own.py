"""A site's own authorizer, named by an entry point of the group ``score.authorizers``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from score.auth.base import Authorizer
from score.errors import Misconfigured

GROUP = "score.authorizers"

Opener = Callable[[Mapping[str, str]], Authorizer]
"""What such an entry point leads to. It gets the settings ``auth.*`` by their names, as text, and is called once, in
the event loop that will serve."""


def find(name: str) -> EntryPoint:
    """The entry point of that name. Misconfigured where no installed package has one."""
    found = {one.name: one for one in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(["ego", "keycloak", "embedded", *sorted(found)])
        raise Misconfigured(
            f"auth.server.provider={name[:40]!r}: there is no such authorizer.",
            hint=f"There are: {known}. One of your own is an installed package with an entry point in {GROUP}.",
        )
    return found[name]


def open_own(name: str, settings: Mapping[str, str]) -> Authorizer:
    """The authorizer of that name. Misconfigured where there is none, or its package cannot be loaded."""
    entry = find(name)
    try:
        opener: Opener = entry.load()
    except (ImportError, AttributeError) as error:
        raise Misconfigured(f"The authorizer {name!r} ({entry.value}) cannot be loaded: {error}.") from error
    authorizer = opener(settings)
    if missing := [method for method in ("identify", "probe", "close") if not hasattr(authorizer, method)]:
        raise Misconfigured(f"The authorizer {name!r} ({entry.value}) has no {' and no '.join(missing)}.")
    return authorizer

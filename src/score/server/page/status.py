"""What the page says of the server before any script runs: pure, from facts and health to HTML.

Strangers read it. So it names no host, no bucket and no key, and of what is wrong only what that means for them; what
the operator needs is in the log, in ``score-server check``, and on the page for who may look everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template

from score.server.settings import Settings

_STORES = {
    "local": "the disk of this server",
    "s3": "an S3 object store",
    "azure": "a container of Azure",
}
_KEYS = {"ego": "Ego", "keycloak": "Keycloak", "embedded": "keys of this server"}
NAMES = {
    "objectBucket": "Object store",
    "stateBucket": "State of uploads",
    "sentinel": "Sentinel",
    "registry": "Registry",
    "authorization": "Authorization",
    "clock": "Clock",
}
"""The components of health, in words."""
MEANINGS = {
    "objectBucket": "The object store cannot be used: no file can be sent or fetched.",
    "stateBucket": "The state of uploads cannot be read or written: no upload can start or go on.",
    "sentinel": "The sentinel is missing: clients cannot see whether they reach the store.",
    "registry": "The registry does not answer: no upload or download can start.",
    "authorization": "Tokens cannot be checked: who needs one is not let in.",
    "clock": "The clocks of server and store differ: URLs may end too soon, and some day none will work.",
}
"""What it means to a user that one of them is not well."""
UNKNOWN = "Not known yet: it does not answer in time."
BEFORE_HEALTH = "<!-- health -->"
"""Where the template is cut: what stands before is sent while the components are still looked at."""
PARTS = "<!-- parts -->"
"""Where the components go."""


def facts(settings: Settings, version: str) -> dict[str, str]:
    """The values of the template that stay the same."""
    access = (
        f"restricted: callers need tokens ({_KEYS.get(settings.provider, 'an authorization server')})"
        if settings.secure
        else "not restricted: whoever reaches this address may read and write"
    )
    local = settings.store == "local"
    return {
        "version": version,
        "store": _STORES[settings.store],
        "registry": "embedded in this server" if local else "Song",
        "access": access,
        "secure": str(settings.secure).lower(),
    }


def commands(address: str, settings: Settings) -> str:
    """The lines of a shell that make the client use this server."""
    lines = [f"export STORAGE_URL={address}"]
    lines.append(f"export METADATA_URL={address if settings.store == 'local' else 'https://YOUR-SONG'}")
    if settings.secure:
        lines.append("export ACCESSTOKEN=YOUR-TOKEN")
    return "\n".join(lines)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with these values, all of them as text."""
    return Template(template).substitute({name: escape(value) for name, value in values.items()})


def health(problems: Mapping[str, str] | None) -> str:
    """The items of the list of components; None: nothing is known in time."""
    if problems is None:
        return _item("unknown", "This server", "not known", UNKNOWN)
    return "".join(
        _item("down", NAMES.get(name, name), "down", MEANINGS.get(name, ""))
        if problem
        else _item("up", NAMES.get(name, name), "up", "")
        for name, problem in problems.items()
    )


def summary(problems: Mapping[str, str] | None) -> str:
    """One sentence on all of them."""
    if problems is None:
        return UNKNOWN
    wrong = sum(bool(problem) for problem in problems.values())
    if not wrong:
        return "Everything works."
    return f"{wrong} of {len(problems)} parts do not work. The operator finds the cause with: score-server check"


def _item(kind: str, name: str, state: str, says: str) -> str:
    more = f'<p class="says">{escape(says)}</p>' if says else ""
    return (
        f'<li class="part {kind}"><span class="name">{escape(name)}</span>'
        f' <span class="state">{escape(state)}</span>{more}</li>\n'
    )

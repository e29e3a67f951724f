"""Which version this is, and of which commit.

The build writes both into ``_build``. Neither git nor the list of installed packages is asked, so that commands start
quickly; in a checkout, where commits come after the installation, the commit is read from the files of git, and only
where it is shown.
"""

from __future__ import annotations

import os

try:
    from score._build import COMMIT, VERSION
except ImportError:  # the sources were copied and never installed
    VERSION, COMMIT = "0.1.dev0", ""

__version__ = VERSION
_CHECKOUT = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, ".git")


def described() -> str:
    """The version for people: ``0.1.0 (commit 0123456789ab)``."""
    return f"{__version__} (commit {commit()})" if commit() else __version__


def commit() -> str:
    """The first 12 digits of the commit, empty where nobody knows."""
    return _checked_out() or COMMIT


def _checked_out() -> str:
    """The commit of the checkout that runs, empty where it is none."""
    try:
        head = _read("HEAD").strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return head[:12]
        try:
            return _read(name).strip()[:12]
        except FileNotFoundError:  # kept among many in one file
            lines = (line.partition(" ") for line in _read("packed-refs").splitlines())
            return next((commit[:12] for commit, _, known in lines if known == name), "")
    except OSError:
        return ""


def _read(name: str) -> str:
    with open(os.path.join(_CHECKOUT, name), encoding="utf-8") as file:
        return file.read()

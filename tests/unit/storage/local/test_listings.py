"""Listings are those of S3."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from score.storage.base import Prefix

from .conftest import collect, opened, run

KEYS = st.lists(
    st.lists(st.text("a-./0é", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join), max_size=12
).map(lambda keys: [key for key in keys if all(name not in ("", ".", "..") for name in key.split("/"))])


def listing(keys: list[str], prefix: str, delimiter: str) -> list[str]:
    """What S3 lists."""
    found = []
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            if name not in found:
                found.append(name)
    return found


@settings(deadline=None, max_examples=60)
@given(KEYS, st.text("a-./0é", max_size=3), st.sampled_from(["", "/", "-", "0"]))
def test_listings_are_those_of_s3(keys: list[str], prefix: str, delimiter: str) -> None:
    # A file system cannot hold both a and a/b.
    keys = [key for key in set(keys) if not any(other.startswith(f"{key}/") for other in keys)]
    with TemporaryDirectory() as folder, opened(Path(folder)) as store:
        for key in [*keys, "empty/folder/.keep"]:
            path = Path(folder, "object", key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        path.unlink()
        found = run(collect(store.scan(prefix, delimiter=delimiter)))
    assert [item.key for item in found] == listing(keys, prefix, delimiter)
    for item in found:
        cut = item.key.find(delimiter, len(prefix)) if delimiter else -1
        assert isinstance(item, Prefix) == (cut >= 0)

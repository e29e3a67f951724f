"""A site on an S3 store whose callers need keys, which the server keeps itself: real processes, no other service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from score.auth.embedded import KeyFile
from score.testing.authorization import SYSTEM
from score.testing.site import S3Service, Site, s3_site


@dataclass(frozen=True, slots=True)
class Restricted:
    """The site, and where its keys are made."""

    site: Site
    keys: KeyFile

    def key(self, *scopes: str) -> str:
        """A new key."""
        return self.keys.create("somebody", scopes)


@contextmanager
def restricted_site(folder: Path, service: S3Service, **more: str) -> Iterator[Restricted]:
    """A running one; the site's own calls are those of an operator. ``more`` settings as for :func:`s3_site`."""
    keys = KeyFile(folder / "keys.sqlite3")
    settings = {"spring_profiles_active": "s3,secure", "auth_embedded_file": str(keys.path), **more}
    with s3_site(folder, service, **settings) as site:
        site.token = keys.create("operator", SYSTEM)
        assert site.song is not None
        site.song.score_token = site.token
        yield Restricted(site, keys)

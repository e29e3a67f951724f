"""Controlled data, read in place on a site that wants tokens: with the right one, with another one, and without."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from score.auth.embedded import KeyFile
from score.filesystem import ScoreFileSystem
from score.testing import genomics
from score.testing.mounting import mounted
from score.testing.secrecy import secret
from score.testing.site import Registered, Site, local_site


@dataclass(frozen=True)
class Controlled:
    """A BAM of controlled access with its index, and a maker of tokens."""

    site: Site
    files: Registered
    bam: Path
    make: Callable[..., str]

    @property
    def tokens(self) -> dict[str, str]:
        """One that may read it, and one of another study."""
        return {"right": self.make("PROGRAMDATA-TEST-CA.READ"), "wrong": self.make("PROGRAMDATA-OTHER.READ")}


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    folder = tmp_path_factory.mktemp("controlled")
    (folder / "site" / "server").mkdir(parents=True)
    place = folder / "site" / "server" / "keys.sqlite3"
    keys = KeyFile(place)

    def make(*scopes: str) -> str:
        return secret(keys.create("somebody", scopes))

    settings = {"auth_embedded_file": str(place), "auth_server_provider": "embedded"}
    with local_site(folder / "site", spring_profiles_active="local,secure", **settings) as site:
        site.token = make("score.WRITE")
        bam = genomics.write_bam(folder / "a.bam")
        files = site.register([bam, Path(f"{bam}.bai")], access="controlled")
        site.run("upload", "--manifest", files.manifest, accessToken=site.token)
        site.publish(files)
        yield Controlled(site, files, bam, make)
    keys.close()


def test_view(controlled: Controlled) -> None:
    words = ("view", "--object-id", controlled.files.ids[0], "--query", "chr2")
    tokens = controlled.tokens
    done = controlled.site.run(*words, accessToken=tokens["right"])
    assert sum(line[0] != "@" for line in done.stdout.splitlines()) == 1500
    for token, said in ((tokens["wrong"], "missing required scope"), ("", "No access token is set")):
        done = controlled.site.run(*words, accessToken=token, status=7)
        assert done.stdout == ""
        assert said in done.stderr


@pytest.mark.needs("fuse")
def test_mount(controlled: Controlled, tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    tokens = controlled.tokens
    for token in (tokens["wrong"], "", tokens["right"]):
        client = controlled.site.start("mount", "--mount-point", point, "--layout", "object-id", accessToken=token)
        with mounted(client, point):
            path = point / controlled.files.ids[0]
            if token == tokens["right"]:
                assert path.read_bytes() == controlled.bam.read_bytes()
                continue
            with pytest.raises(OSError, match="Permission denied") as caught:
                path.read_bytes()
            assert caught.value.errno == errno.EACCES


def test_fsspec(controlled: Controlled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACCESSTOKEN", raising=False)
    site, object_id = controlled.site, controlled.files.ids[0]
    tokens = controlled.tokens

    def system(token: str | None) -> ScoreFileSystem:
        return ScoreFileSystem(storage_url=site.url, metadata_url=site.registry_url, token=token)

    assert system(tokens["right"]).cat(object_id) == controlled.bam.read_bytes()
    for token in (tokens["wrong"], None):
        with pytest.raises(PermissionError):
            system(token).open(object_id)
    assert system(tokens["right"]).cat_file(object_id, 0, 4) == b"\x1f\x8b\x08\x04"

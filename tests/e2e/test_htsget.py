"""htsget with the clients that there are: samtools, bcftools and the one on PyPI, against real servers and stores.

What they read through tickets is compared with what samtools and bcftools find in the local file.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from score.auth.embedded import KeyFile
from score.testing import genomics
from score.testing.azurite import Azurite, azurite_site
from score.testing.components import find
from score.testing.faults import Answer
from score.testing.genomics import REFERENCES, assemble, reads_of, variants_of
from score.testing.processes import DIRECT
from score.testing.secrecy import secret
from score.testing.site import Registered, Site, local_site, s3_site

if TYPE_CHECKING:
    from score.testing.ceph import Ceph
    from score.testing.minio import Minio

pytestmark = pytest.mark.needs("samtools", "bcftools", "htsget")
NAMES = ("a.bam", "other.bam", "a.cram", "a.vcf.gz", "a.bcf")


@dataclass
class Shelf:
    """A site with a file of each format."""

    site: Site
    folder: Path
    ids: dict[str, str]
    analysis: Registered

    def url(self, name: str, **query: object) -> str:
        """The address of a file's ticket, by way of the fault proxy."""
        kind = "variants" if "cf" in name else "reads"
        asked = f"?{urlencode(query)}" if query else ""
        return f"{self.site.url}/htsget/{kind}/{self.ids[name]}{asked}"

    def ticket(self, name: str, **query: object) -> dict[str, Any]:
        with DIRECT.open(self.url(name, **query), timeout=30) as answer:
            document: dict[str, Any] = json.load(answer)
        return document


def fill(site: Site, folder: Path) -> Shelf:
    """Make the files, upload and publish them."""
    folder.mkdir()
    genomics.write_bam(folder / "a.bam", reads=12_000)
    genomics.write_bam(folder / "other.bam", straddling=True)
    genomics.write_cram(folder / "a.cram")
    genomics.write_vcf(folder / "a.vcf.gz")
    genomics.write_vcf(folder / "a.bcf", straddling=True)
    paths = sorted(folder.iterdir())
    registered = site.register(paths)
    site.run("upload", "--manifest", registered.manifest)
    site.publish(registered)
    ids = {path.name: one for path, one in zip(registered.paths, registered.ids, strict=True)}
    return Shelf(site, folder, ids, registered)


@pytest.fixture(scope="module")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("local")
    with local_site(folder / "site") as site:
        yield fill(site, folder / "files")


@pytest.fixture(scope="module")
def _minio(tmp_path_factory: pytest.TempPathFactory, minio: Minio) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("minio")
    with s3_site(folder / "site", minio, bucket_size_pool="3") as site:
        yield fill(site, folder / "files")


@pytest.fixture(scope="module")
def _minio_v2(tmp_path_factory: pytest.TempPathFactory, minio: Minio) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("minio-v2")
    with s3_site(folder / "site", minio, s3_sigV4Enabled="false") as site:
        yield fill(site, folder / "files")


@pytest.fixture(scope="module")
def _azure(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("azure")
    with azurite_site(folder / "site", azurite) as site:
        yield fill(site, folder / "files")


@pytest.fixture(scope="module")
def _ceph(tmp_path_factory: pytest.TempPathFactory, ceph: Ceph) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("ceph")
    with s3_site(folder / "site", ceph) as site:
        yield fill(site, folder / "files")


def _shelf(request: pytest.FixtureRequest) -> Shelf:
    shelf: Shelf = request.getfixturevalue(f"_{request.param}")
    shelf.site.heal()
    return shelf


LOCAL, MINIO = "local", pytest.param("minio", marks=pytest.mark.needs("minio"))
V2 = pytest.param("minio_v2", marks=pytest.mark.needs("minio"))
CEPH = pytest.param("ceph", marks=pytest.mark.needs("ceph"))
AZURE = pytest.param("azure", marks=pytest.mark.needs("azurite"))
shelf = pytest.fixture(_shelf, params=[LOCAL, MINIO])
every_shelf = pytest.fixture(_shelf, params=[LOCAL, MINIO, V2, CEPH, AZURE])
minio_shelf = pytest.fixture(_shelf, params=[MINIO])


def run(*command: str | Path, **environment: str) -> str:
    """What a program writes; it must succeed, and say nothing."""
    name = str(command[0])
    program = find(name)
    assert program is not None
    done = subprocess.run(
        [program, *map(str, command[1:])],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def some_regions(seed: int, count: int) -> list[tuple[str, int, int]]:
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        name = dice.choice([name for name in REFERENCES if name != "chrEmpty"])
        start = dice.randrange(REFERENCES[name] - 1)
        found.append((name, start, min(REFERENCES[name], start + dice.choice((1, 100, 10_000, 200_000)))))
    return found


def local_records(path: Path, region: tuple[str, int, int], folder: Path) -> list[str]:
    """What the programs find by the index of a file."""
    name, start, end = region
    if "cf" in path.name:
        bed = folder / "region.bed"  # bcftools cannot be told of a name with colons in another way
        bed.write_text(f"{name}\t{start}\t{end}\n")
        return run("bcftools", "view", "-H", "-R", bed, path).splitlines()
    return run("samtools", "view", path, f"{{{name}}}:{start + 1}-{end}").splitlines()


def records_of(path: Path, region: tuple[str, int, int | None] | None = None) -> list[str]:
    return variants_of(path, region) if "cf" in path.name else reads_of(path, region)


@pytest.mark.parametrize("name", NAMES)
def test_samtools_and_bcftools_read_regions(shelf: Shelf, name: str, tmp_path: Path) -> None:
    """What comes through the ticket, seen by the same program, is what it finds by the index of the local file."""
    part = tmp_path / name
    for region in some_regions(len(name), 6):
        url = shelf.url(name, referenceName=region[0], start=region[1], end=region[2])
        if "cf" in name:
            run("bcftools", "view", "--no-version", "-O", "z" if name.endswith("gz") else "b", "-o", part, url)
            run("bcftools", "index", "-f", part)
        else:
            run("samtools", "view", "--no-PG", "-O", "CRAM,no_ref=1" if "cram" in name else "BAM", "-o", part, url)
            run("samtools", "index", part)
        assert local_records(part, region, tmp_path) == local_records(shelf.folder / name, region, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_samtools_and_bcftools_read_all(shelf: Shelf, name: str) -> None:
    view = ("bcftools", "view", "--no-version") if "cf" in name else ("samtools", "view", "--no-PG", "-h")
    whole = run(*view, shelf.folder / name)
    assert run(*view, shelf.url(name)) == whole
    header = run(*view, shelf.url(name, **{"class": "header"}))
    assert header
    assert whole.startswith(header)


@pytest.mark.parametrize("name", NAMES)
def test_the_client_of_pypi(shelf: Shelf, name: str, tmp_path: Path) -> None:
    part = tmp_path / name
    run("htsget", shelf.url(name), "-O", part)
    assert part.read_bytes() == (shelf.folder / name).read_bytes()
    for region in some_regions(2, 2):
        bounds = ("-r", region[0], "-s", str(region[1]), "-e", str(region[2]))
        run("htsget", shelf.url(name), *bounds, "-O", part)
        assert records_of(part, region) == records_of(shelf.folder / name, region)


def test_the_client_of_pypi_tries_again_what_the_store_breaks_off(shelf: Shelf, tmp_path: Path) -> None:
    shelf.site.store.inject(Answer.unavailable(), method="GET", path=shelf.site.path_of(shelf.ids["a.bam"]), times=2)
    part = tmp_path / "a.bam"
    program = find("htsget")
    assert program is not None
    command = [program, shelf.url("a.bam"), "-O", part, "--retry-wait", "0"]
    shelf.site.store.forget()
    subprocess.run(command, check=True, timeout=60, stderr=subprocess.DEVNULL)  # it tells of URLs, whole
    assert len(shelf.site.fetched(shelf.ids["a.bam"])) == 3
    assert part.read_bytes() == (shelf.folder / "a.bam").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_ticket_is_made_of_signed_ranges(every_shelf: Shelf, name: str) -> None:
    """Each range works with its URL, and is within what the ticket says; bytes of no other range come with it where
    the store binds URLs to ranges."""
    document = every_shelf.ticket(name, referenceName="chrX", start=100_000, end=800_000)
    spans = [one for one in document["htsget"]["urls"] if not one["url"].startswith("data:")]
    assert spans
    every_shelf.site.store.forget()

    def fetch(url: str, headers: Mapping[str, str]) -> bytes:
        assert set(headers) == {"Range"}
        with DIRECT.open(urllib.request.Request(url, headers=dict(headers)), timeout=30) as answer:
            assert answer.status == 206
            data: bytes = answer.read()
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        assert len(data) == last - first + 1
        return data

    assert assemble(document, fetch)
    assert len(every_shelf.site.fetched(every_shelf.ids[name])) == len(spans)
    for one in spans:
        query = parse_qs(urlsplit(one["url"]).query)
        bound = not {"Signature", "sig"} & set(query)  # of S3's version 2, and of Azure
        assert status_of(one["url"], "bytes=0-10") == (403 if bound else 206)


def status_of(url: str, wanted: str) -> int:
    try:
        with DIRECT.open(urllib.request.Request(url, headers={"Range": wanted}), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_many_regions_by_post(shelf: Shelf, tmp_path: Path) -> None:
    regions = some_regions(3, 200)
    body = {"regions": [dict(zip(("referenceName", "start", "end"), one, strict=True)) for one in regions]}

    def fetch(url: str, headers: Mapping[str, str]) -> bytes:
        with DIRECT.open(urllib.request.Request(url, headers=dict(headers)), timeout=30) as answer:
            data: bytes = answer.read()
        return data

    for name in NAMES:
        asked = urllib.request.Request(
            shelf.url(name), json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with DIRECT.open(asked, timeout=30) as answer:
            document = json.load(answer)
        part = tmp_path / name
        part.write_bytes(assemble(document, fetch))
        for region in regions[:20]:
            assert records_of(part, region) == records_of(shelf.folder / name, region)


def test_headers_and_indexes_are_read_once(minio_shelf: Shelf) -> None:
    traffic = minio_shelf.site.behind
    assert traffic is not None
    region = {"referenceName": "chr1", "start": 200_000, "end": 300_000}
    for name, edges in (("other.bam", 2), ("a.cram", 1), ("a.vcf.gz", 2)):
        first = minio_shelf.ticket(name, **region)
        traffic.forget()
        again = minio_shelf.ticket(name, **region)
        assert len(again["htsget"]["urls"]) == len(first["htsget"]["urls"])
        read = traffic.seen(method="GET", path="-objects.*/data/")
        assert {call.path.rpartition("/")[2] for call in read} == {minio_shelf.ids[name]}
        assert len(read) <= edges


def test_a_store_that_is_away_is_503(minio_shelf: Shelf) -> None:
    assert minio_shelf.site.behind is not None
    minio_shelf.site.behind.inject(Answer.unavailable(), method="GET", times=1000)
    with pytest.raises(urllib.error.HTTPError) as caught:
        minio_shelf.ticket("a.bam", referenceName="chr1")
    assert caught.value.code == 503
    document = json.load(caught.value)
    assert document["htsget"]["error"] == "ServiceUnavailable"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Shelf, Callable[..., str]]]:
    """A site that wants tokens, and a maker of them."""
    folder = tmp_path / "site" / "server"
    folder.mkdir(parents=True)
    keys = KeyFile(folder / "keys.sqlite3")

    def make(*scopes: str) -> str:
        return secret(keys.create("somebody", scopes))

    with local_site(
        tmp_path / "site",
        spring_profiles_active="local,secure",
        auth_embedded_file=str(folder / "keys.sqlite3"),
        auth_server_provider="embedded",
    ) as site:
        site.token = make("score.WRITE")
        bam = genomics.write_bam(tmp_path / "a.bam")
        paths = [bam, Path(f"{bam}.bai")]
        registered = site.register(paths, access="controlled")
        site.run("upload", "--manifest", registered.manifest, accessToken=site.token)
        site.publish(registered)
        yield Shelf(site, tmp_path, dict(zip(("a.bam", "a.bam.bai"), registered.ids, strict=True)), registered), make
    keys.close()


def test_clients_with_tokens(secured: tuple[Shelf, Callable[..., str]], tmp_path: Path) -> None:
    """samtools takes the token from a file, the client of PyPI as an option; neither sends it to the store."""
    shelf, make = secured
    good, bad = make("PROGRAMDATA-TEST-CA.READ"), make("PROGRAMDATA-OTHER.READ")
    place = tmp_path / "token"
    place.write_text(good)
    url = shelf.url("a.bam", referenceName="chr2")
    # htslib keeps tokens for https, unless it is told otherwise.
    samtools = find("samtools")
    assert samtools is not None
    environment = {**os.environ, "HTS_AUTH_LOCATION": str(place)}
    kept = subprocess.run(
        [samtools, "view", "-c", url], env=environment, check=False, capture_output=True, timeout=60
    )
    assert kept.returncode == 1
    shelf.site.store.forget()
    counted = run(
        "samtools",
        "view",
        "-c",
        url,
        HTS_AUTH_LOCATION=str(place),
        HTS_ALLOW_UNENCRYPTED_AUTHORIZATION_HEADER="I understand the risks",
    )
    assert int(counted) >= 1500
    part = tmp_path / "part.bam"
    run("htsget", url, "--bearer-token", good, "-O", part)
    assert len(reads_of(part, ("chr2", 0, None))) == 1500
    fetches = shelf.site.fetched(shelf.ids["a.bam"])
    assert fetches
    assert all("authorization" not in fetch.headers for fetch in fetches if fetch.path.startswith("/store/"))
    place.write_text(bad)
    for key in (bad, None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with pytest.raises(urllib.error.HTTPError) as caught:
            DIRECT.open(urllib.request.Request(url, headers=headers), timeout=30)
        assert caught.value.code == 403
        assert json.load(caught.value)["htsget"]["error"] == "PermissionDenied"

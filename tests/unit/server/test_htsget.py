"""htsget 1.3 over HTTP, case by case as the specification has them. https://samtools.github.io/hts-specs/htsget.html"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from score._version import __version__
from score.auth.embedded import KeyFile
from score.metadata.base import AnalysisState
from score.metadata.embedded import EmbeddedRegistry
from score.server.build import open_service
from score.server.htsget import LARGEST_DOCUMENT
from score.server.settings import Settings
from score.server.trail import write_audit_to
from score.testing import genomics
from score.testing.genomics import UNPLACED, assemble, reads_of, variants_of
from score.testing.secrecy import secret
from score.testing.server import RunningServer

STUDY = "TEST-CA"
MEDIA_TYPE = "application/vnd.ga4gh.htsget.v1.3.0+json; charset=utf-8"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
ORIGIN = "https://portal.example.org"


class Site:
    """A secure server on a local store with files of every kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids: dict[str, str] = {}
        self.files: dict[str, Path] = {}
        self.root = folder / "store"
        self.root.mkdir()
        self.audit = folder / "audit.log"
        keys = KeyFile(self.root / "keys.sqlite3")
        self.keys = {
            "all": secret(keys.create("all", ["score.READ"])),
            "study": secret(keys.create("study", [f"PROGRAMDATA-{STUDY}.READ"])),
            "other": secret(keys.create("other", ["PROGRAMDATA-OTHER.READ"])),
            "bad": secret("6f1c5d7e-0000-4000-8000-00000000bad0"),
        }
        keys.close()
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        registry = EmbeddedRegistry(self.root)
        await registry.create_study(STUDY, {})
        bam = self.write("a.bam", genomics.write_bam)
        self.write("a.cram", genomics.write_cram)
        self.write("a.vcf.gz", genomics.write_vcf)
        self.write("a.bcf", genomics.write_vcf)
        fastq = self.folder / "a.fastq"
        fastq.write_text("@r\nACGT\n+\nIIII\n")
        bundle = [path for path in self.folder.iterdir() if path.name.startswith("a.") and path.is_file()]
        await self.register(registry, bundle, "open")
        await self.register(registry, [bam], "controlled", name="controlled.bam")
        await self.register(registry, [bam], "open", name="draft.bam", state=AnalysisState.UNPUBLISHED)
        await self.register(registry, [bam], "open", name="withdrawn.bam", state=AnalysisState.SUPPRESSED)
        await self.register(registry, [bam], "open", name="lonely.bam")
        await self.register(registry, [bam], "open", name="absent.bam", stored=False)
        await registry.close()

    def write(self, name: str, how: Any) -> Path:
        self.files[name] = how(self.folder / name)
        return self.files[name]

    async def register(
        self,
        registry: EmbeddedRegistry,
        paths: list[Path],
        access: str,
        *,
        name: str = "",
        state: AnalysisState = AnalysisState.PUBLISHED,
        stored: bool = True,
    ) -> None:
        contents = {name or path.name: path.read_bytes() for path in paths}
        files = [
            {
                "fileName": one,
                "fileSize": len(data),
                "fileMd5sum": hashlib.md5(data).hexdigest(),
                "fileAccess": access,
            }
            for one, data in contents.items()
        ]
        analysis = await registry.submit(STUDY, {"studyId": STUDY, "files": files})
        for file in await registry.files(STUDY, analysis):
            self.ids[file["fileName"]] = file["objectId"]
            if stored:
                place = self.root / "object" / "data" / file["objectId"]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(contents[file["fileName"]])
        await registry.change_state(STUDY, analysis, state)

    def run(self, http: urllib3.PoolManager, **more: object) -> RunningServer:
        given = {
            "local.directory": self.root,
            "profiles": ("local", "secure"),
            "server.cors.allowedOrigins": ORIGIN,
        }
        chosen = Settings.model_validate({**given, "auth.server.provider": "embedded", **more})
        return RunningServer(lambda: open_service(chosen), chosen)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def server(site: Site, http: urllib3.PoolManager) -> Iterator[RunningServer]:
    with site.run(http) as server:
        yield server


@dataclass(frozen=True)
class Case:
    """A request and what the specification says of it. ``error`` is its name there; without one the answer is a
    ticket, and ``format`` its format; ``has`` is a region whose records it has, all of them."""

    says: str
    path: str
    query: Mapping[str, str] | str = field(default_factory=dict)
    body: object = None
    """Of a POST: JSON, or bytes as they are."""
    key: str = ""
    status: int = 200
    error: str = ""
    format: str = ""
    has: tuple[str, int, int | None] | None = None
    records: int | None = None
    """How many records there are in all, where that is known."""

    def __str__(self) -> str:
        return self.says


def at(name: object, **bounds: object) -> object:
    """The document of one region."""
    return {"regions": [{"referenceName": name, **bounds}]}


def refused(says: str, path: str, error: str, status: int = 400, **more: Any) -> Case:
    return Case(says, path, error=error, status=status, **more)


BAM, CRAM, VCF, BCF = "reads/{a.bam}", "reads/{a.cram}", "variants/{a.vcf.gz}", "variants/{a.bcf}"
R1 = {"referenceName": "chr1", "start": "100000", "end": "130000"}
IN_R1 = ("chr1", 100_000, 130_000)
MANY = {"regions": [{"referenceName": "chrX", "start": 5000}, {"referenceName": "chr1", "start": 9, "end": 90_000}]}
CASES = [
    # GET: format and class
    Case("all reads of a BAM", BAM, format="BAM", records=6500),
    Case("all reads, the format named", BAM, {"format": "BAM"}, format="BAM", records=6500),
    Case("the case of a format does not matter", BAM, {"format": "bam"}, format="BAM", records=6500),
    Case("all reads of a CRAM", CRAM, {"format": "CRAM"}, format="CRAM", records=6500),
    Case("without a format that of the file", CRAM, format="CRAM", records=6500),
    Case("all variants of a VCF", VCF, {"format": "VCF"}, format="VCF", records=6000),
    Case("all variants of a BCF", BCF, {"format": "BCF"}, format="BCF", records=6000),
    refused("a BAM is not converted", BAM, "UnsupportedFormat", query={"format": "CRAM"}),
    refused("a CRAM is not converted", CRAM, "UnsupportedFormat", query={"format": "BAM"}),
    refused("a VCF is not converted", VCF, "UnsupportedFormat", query={"format": "BCF"}),
    refused("a format of variants for reads", BAM, "UnsupportedFormat", query={"format": "VCF"}),
    refused("a format of reads for variants", VCF, "UnsupportedFormat", query={"format": "BAM"}),
    refused("a format that nobody knows", BAM, "UnsupportedFormat", query={"format": "SAM"}),
    refused("an empty format", BAM, "UnsupportedFormat", query={"format": ""}),
    refused("a file of another kind", "reads/{a.fastq}", "UnsupportedFormat"),
    refused("an index is no file of reads", "reads/{a.bam.bai}", "UnsupportedFormat"),
    *[
        Case(f"the header alone of {path}", path, {"class": "header"}, format=format, records=0)
        for path, format in ((BAM, "BAM"), (CRAM, "CRAM"), (VCF, "VCF"), (BCF, "BCF"))
    ],
    Case("the header and its format", BAM, {"class": "header", "format": "BAM"}, format="BAM", records=0),
    Case("the header needs no index", "reads/{lonely.bam}", {"class": "header"}, format="BAM", records=0),
    refused("a class that is none", BAM, "InvalidInput", query={"class": "body"}),
    refused("the header and a reference", BAM, "InvalidInput", query={"class": "header", "referenceName": "chr1"}),
    refused("the header and a start", BAM, "InvalidInput", query={"class": "header", "start": "1"}),
    refused("the header and fields", BAM, "InvalidInput", query={"class": "header", "fields": "QNAME"}),
    refused("the header and tags", BAM, "InvalidInput", query={"class": "header", "tags": ""}),
    # GET: regions
    *[
        Case(f"a region of {path}", path, R1, format=format, has=IN_R1)
        for path, format in ((BAM, "BAM"), (CRAM, "CRAM"), (VCF, "VCF"), (BCF, "BCF"))
    ],
    Case("a whole reference", BAM, {"referenceName": "chr2"}, format="BAM", has=("chr2", 0, None)),
    Case("from a start", BAM, {"referenceName": "chr2", "start": "90000"}, format="BAM", has=("chr2", 90_000, None)),
    Case("to an end", BAM, {"referenceName": "chr2", "end": "20000"}, format="BAM", has=("chr2", 0, 20_000)),
    Case("one base", VCF, {"referenceName": "chr1", "start": "7", "end": "8"}, format="VCF", has=("chr1", 7, 8)),
    Case("a name with signs", BAM, {"referenceName": "HLA:01*02"}, format="BAM", has=("HLA:01*02", 0, None)),
    Case("a reference without records", BAM, {"referenceName": "chrEmpty"}, format="BAM", records=0),
    Case("the same of variants", VCF, {"referenceName": "chrEmpty"}, format="VCF", records=0),
    Case("the same of a BCF", BCF, {"referenceName": "chrEmpty"}, format="BCF", records=0),
    Case("the same of a CRAM", CRAM, {"referenceName": "chrEmpty"}, format="CRAM", records=0),
    Case("an empty range", BAM, R1 | {"end": "100000"}, format="BAM", records=0),
    Case("beyond its end", BAM, {"referenceName": "chr1", "start": "4294967295"}, format="BAM", records=0),
    Case("reads without a place", BAM, {"referenceName": "*"}, format="BAM", has=("*", 0, None), records=UNPLACED),
    Case("the same of a CRAM", CRAM, {"referenceName": "*"}, format="CRAM", has=("*", 0, None)),
    refused("a reference that is not there", BAM, "NotFound", 404, query={"referenceName": "chr9"}),
    refused("the same of a CRAM", CRAM, "NotFound", 404, query={"referenceName": "1"}),
    refused("the same of variants", VCF, "NotFound", 404, query={"referenceName": "9"}),
    refused("the same of a BCF", BCF, "NotFound", 404, query={"referenceName": "9"}),
    refused("variants have a place", VCF, "NotFound", 404, query={"referenceName": "*"}),
    refused("an empty name", BAM, "InvalidInput", query={"referenceName": ""}),
    refused("start without a reference", BAM, "InvalidInput", query={"start": "1"}),
    refused("end without a reference", BAM, "InvalidInput", query={"end": "1"}),
    refused("start of reads without a place", BAM, "InvalidInput", query={"referenceName": "*", "start": "0"}),
    refused("end of reads without a place", BAM, "InvalidInput", query={"referenceName": "*", "end": "5"}),
    refused("start after end", BAM, "InvalidRange", query=R1 | {"start": "130001"}),
    *[
        refused(f"start is {text!r}", BAM, "InvalidInput", query=R1 | {"start": text})
        for text in ("-1", "1.5", "x", "", "4294967296", "1e3", "٣", "1" * 400)
    ],
    refused("end is no number", BAM, "InvalidInput", query=R1 | {"end": "end"}),
    refused("a region without an index", "reads/{lonely.bam}", "InvalidRange", query=R1),
    Case("all of it without an index", "reads/{lonely.bam}", format="BAM", records=6500),
    # GET: fields and tags, which this server does not filter by
    Case("fields", BAM, {"fields": "QNAME,FLAG,POS"}, format="BAM", records=6500),
    Case("fields of variants", VCF, {"fields": "POS"}, format="VCF", records=6000),
    refused("a field that is none", BAM, "InvalidInput", query={"fields": "QNAME,NAME"}),
    Case("tags", BAM, {"tags": "NM,MD", "notags": "OQ"}, format="BAM", records=6500),
    Case("no tags", BAM, {"tags": ""}, format="BAM", records=6500),
    Case("no tags, and some not", BAM, {"tags": "", "notags": ""}, format="BAM", records=6500),
    refused("tags that are wanted and not", BAM, "InvalidInput", query={"tags": "NM,MD", "notags": "OQ,NM"}),
    refused("a parameter that is not known", BAM, "InvalidInput", query={"referencename": "chr1"}),
    refused("encryption, which is not known", BAM, "InvalidInput", query={"encryptionScheme": "c4gh"}),
    refused("a parameter given twice", BAM, "InvalidInput", query="referenceName=chr1&referenceName=chr2"),
    # POST
    Case("a POST of nothing", BAM, body=b"", format="BAM", records=6500),
    Case("a POST of an empty document", BAM, body={}, format="BAM", records=6500),
    Case("a format in lower case", BAM, body={"format": "bam"}, format="BAM", records=6500),
    Case("the header by POST", VCF, body={"class": "header", "format": "VCF"}, format="VCF", records=0),
    *[
        Case(f"regions of {path}", path, body=MANY, format=format, has=region)
        for path, format in ((BAM, "BAM"), (CRAM, "CRAM"), (VCF, "VCF"), (BCF, "BCF"))
        for region in (("chrX", 5000, None), ("chr1", 9, 90_000))
    ],
    Case("one twice", BAM, body={"regions": [{"referenceName": "chr2"}] * 2}, format="BAM", has=("chr2", 0, None)),
    Case("everything of the example", BAM, body={
        "format": "bam", "fields": ["QNAME", "FLAG", "RNAME", "POS", "CIGAR", "SEQ"],
        "tags": ["RG"], "notags": ["OQ"],
        "regions": [{"referenceName": "chr1"}, {"referenceName": "chr2", "start": 999, "end": 1000},
                    {"referenceName": "chr2", "start": 2000, "end": 2100}],
    }, format="BAM", has=("chr2", 2000, 2100)),
    Case("reads without a place by POST", BAM, body=at("*"), format="BAM", records=UNPLACED),
    refused("no regions", BAM, "InvalidInput", body={"regions": []}),
    refused("regions that are no list", BAM, "InvalidInput", body={"regions": {"referenceName": "chr1"}}),
    refused("a region that is no object", BAM, "InvalidInput", body={"regions": ["chr1"]}),
    refused("a region without a reference", BAM, "InvalidInput", body={"regions": [{"start": 1}]}),
    refused("a region of a number", BAM, "InvalidInput", body=at(1)),
    refused("a region with another key", BAM, "InvalidInput", body=at("chr1", stop=5)),
    refused("a reference that is not there, by POST", BAM, "NotFound", 404, body=at("9")),
    *[
        refused(f"start is {value!r}, by POST", BAM, "InvalidInput", body=at("chr1", start=value))
        for value in (-1, 1.5, "1", None, True, 1 << 32)
    ],
    refused("start after end, by POST", BAM, "InvalidRange", body=at("chr1", start=9, end=8)),
    refused("an empty range, by POST", BAM, "InvalidRange", body=at("chr1", start=9, end=9)),
    refused("a start without a place, by POST", BAM, "InvalidInput", body=at("*", start=9)),
    refused("a reference at the top", BAM, "InvalidInput", body={"referenceName": "chr1"}),
    refused("the header and regions", BAM, "InvalidInput", body={"class": "header", **MANY}),
    refused("a class that is none, by POST", BAM, "InvalidInput", body={"class": "body"}),
    refused("a format that is none", BAM, "UnsupportedFormat", body={"format": "VCF"}),
    refused("a format that is no text", BAM, "InvalidInput", body={"format": 1}),
    refused("fields that are no list", BAM, "InvalidInput", body={"fields": "QNAME"}),
    refused("fields that are none", BAM, "InvalidInput", body={"fields": ["X"]}),
    Case("an empty list of tags", BAM, body={"tags": []}, format="BAM", records=6500),
    refused("tags that are wanted and not, by POST", BAM, "InvalidInput", body={"tags": ["NM"], "notags": ["NM"]}),
    refused("no JSON", BAM, "InvalidInput", body=b"{regions"),
    refused("no text", BAM, "InvalidInput", body=b"\xff\xfe"),
    refused("JSON without end", BAM, "InvalidInput", body=b"[" * 100_000),
    refused("no object", BAM, "InvalidInput", body=[]),
    refused("a key twice", BAM, "InvalidInput", body=b'{"format": "BAM", "format": "CRAM"}'),
    refused("a query beside the body", BAM, "InvalidInput", query={"format": "BAM"}, body={}),
    refused("too large a body", BAM, "PayloadTooLarge", 413, body=b" " * (LARGEST_DOCUMENT + 1)),
    # Ids
    refused("an id that is not registered", f"reads/{UNKNOWN}", "NotFound", 404),
    refused("an id of another kind", "reads/NA12878", "NotFound", 404),
    refused("an id with slashes", "reads/data/platinum/NA12878", "NotFound", 404),
    refused("no id", "reads/", "NotFound", 404),
    refused("a registered file that is not stored", "reads/{absent.bam}", "NotFound", 404),
    refused("variants among the reads", "reads/{a.vcf.gz}", "NotFound", 404),
    refused("reads among the variants", "variants/{a.cram}", "NotFound", 404),
    refused("another kind of data", "refs/{a.bam}", "NotFound", 404),
    refused("a query that is too long", BAM, "InvalidInput", 414, query="referenceName=" + "x" * 9000),
    # Authorization
    Case("an open file with a token", BAM, key="other", format="BAM", records=6500),
    refused("a bad token, on an open file too", BAM, "InvalidAuthentication", 401, key="bad"),
    refused("a controlled file without a token", "reads/{controlled.bam}", "PermissionDenied", 403),
    refused("with a bad token", "reads/{controlled.bam}", "InvalidAuthentication", 401, key="bad"),
    refused("with one of another study", "reads/{controlled.bam}", "PermissionDenied", 403, key="other"),
    refused("the same by POST", "reads/{controlled.bam}", "PermissionDenied", 403, key="other", body={}),
    refused("its header", "reads/{controlled.bam}", "PermissionDenied", 403, key="other", query={"class": "header"}),
    Case("with one of its study", "reads/{controlled.bam}", key="study", format="BAM", records=6500),
    Case("with one of the system", "reads/{controlled.bam}", key="all", format="BAM", records=6500),
    refused("an unpublished file", "reads/{draft.bam}", "PermissionDenied", 403, key="all"),
    refused("a suppressed file", "reads/{withdrawn.bam}", "PermissionDenied", 403, key="all"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_the_specification_says(
    case: Case, site: Site, server: RunningServer, http: urllib3.PoolManager, tmp_path: Path
) -> None:
    answer = ask(case, site, server, http)
    assert answer.status == case.status, answer.data
    document = answer.json()
    assert list(document) == ["htsget"]
    assert answer.data.startswith(b'{"htsget":'), "clients know a ticket by its beginning"
    if case.error:
        assert answer.headers["content-type"] == "application/json"
        assert set(document["htsget"]) == {"error", "message"}
        assert document["htsget"]["error"] == case.error
        assert document["htsget"]["message"]
        assert ("www-authenticate" in answer.headers) is (case.status == 401)
        return
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "content-encoding" not in answer.headers
    assert document["htsget"]["format"] == case.format

    def fetch(url: str, headers: Mapping[str, str]) -> bytes:
        block = http.request("GET", url, headers=dict(headers))
        assert block.status in (200, 206)
        return block.data

    path = tmp_path / f"answer.{case.format.lower()}"
    path.write_bytes(assemble(document, fetch))
    records = variants_of if case.format in ("VCF", "BCF") else reads_of
    if case.records is not None:
        assert len(records(path)) == case.records
    if case.has is not None:
        whole = site.files[case.path.partition("{")[2].rstrip("}")]
        found = records(path, case.has)
        assert found == records(whole, case.has)
        assert found or case.has[2] == 8


def ask(case: Case, site: Site, server: RunningServer, http: urllib3.PoolManager) -> urllib3.BaseHTTPResponse:
    name = case.path.partition("{")[2].partition("}")[0]
    path = case.path.replace(f"{{{name}}}", site.ids[name]) if name else case.path
    headers = {"Authorization": f"Bearer {site.keys[case.key]}"} if case.key else {}
    query = case.query if isinstance(case.query, str) else urlencode(case.query)
    url = f"{server.url}/htsget/{path}{'?' if query else ''}{query}"
    if case.body is None:
        return http.request("GET", url, headers=headers)
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    return http.request("POST", url, body=body, headers={**headers, "Content-Type": "application/json"})


@pytest.mark.parametrize(("datatype", "formats"), [("reads", ["BAM", "CRAM"]), ("variants", ["VCF", "BCF"])])
def test_service_info(server: RunningServer, http: urllib3.PoolManager, datatype: str, formats: list[str]) -> None:
    answer = http.request("GET", f"{server.url}/htsget/{datatype}/service-info")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "id": "127.0.0.1.htsget",
        "name": "Score at 127.0.0.1",
        "type": {"group": "org.ga4gh", "artifact": "htsget", "version": "1.3.0"},
        "organization": {"name": "127.0.0.1", "url": server.url},
        "version": __version__,
        "htsget": {
            "datatype": datatype,
            "formats": formats,
            "fieldsParameterEffective": False,
            "tagsParametersEffective": False,
        },
    }


def test_service_info_as_it_is_set(site: Site, http: urllib3.PoolManager) -> None:
    given = {
        "htsget.id": "org.example.score",
        "htsget.name": "Reads of Example",
        "htsget.organization.name": "Example",
        "htsget.organization.url": "https://example.org",
    }
    with site.run(http, **given) as server:
        document = http.request("GET", f"{server.url}/htsget/reads/service-info").json()
    assert (document["id"], document["name"]) == ("org.example.score", "Reads of Example")
    assert document["organization"] == {"name": "Example", "url": "https://example.org"}


def test_pages_of_the_origins_that_are_set(site: Site, server: RunningServer, http: urllib3.PoolManager) -> None:
    url = f"{server.url}/htsget/reads/{site.ids['a.bam']}"
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = http.request("OPTIONS", url, headers=asked)
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert preflight.headers["access-control-max-age"] == "2592000"
    assert http.request("GET", url, headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    stranger = http.request("POST", url, body=b"{}", headers={"Origin": "https://other.example.org"})
    assert (stranger.status, stranger.json()["htsget"]["error"]) == (403, "PermissionDenied")


def test_every_ticket_leaves_an_audit_line(site: Site, http: urllib3.PoolManager) -> None:
    write_audit_to(str(site.audit))
    try:
        with site.run(http) as server:
            url = f"{server.url}/htsget/reads/{site.ids['controlled.bam']}"
            key = {"Authorization": f"Bearer {site.keys['study']}"}
            assert http.request("GET", url, headers=key).status == 200
            assert http.request("GET", f"{url}?class=header", headers=key).status == 200
            assert http.request("GET", url).status == 403
    finally:
        write_audit_to("")
    whole, header, refusal = map(json.loads, site.audit.read_text().splitlines())
    size = site.files["a.bam"].stat().st_size
    given = {"deed": "download", "outcome": "done", "by": "htsget", "study": STUDY, "subject": "study"}
    assert given.items() <= whole.items()
    assert (whole["object"], whole["parts"], whole["bytes"]) == (site.ids["controlled.bam"], 1, size)
    assert given.items() <= header.items()
    assert (header["parts"], header["bytes"]) == (0, 0)
    assert (refusal["outcome"], refusal["status"]) == ("refused", 403)


def test_the_description_has_the_calls(server: RunningServer, http: urllib3.PoolManager) -> None:
    paths = http.request("GET", f"{server.url}/v2/api-docs").json()["paths"]
    for datatype in ("reads", "variants"):
        ticket = paths[f"/htsget/{datatype}/{{object_id}}"]
        named = [one["name"] for one in ticket["get"]["parameters"] if one["in"] == "query"]
        assert named == ["format", "class", "referenceName", "start", "end", "fields", "tags", "notags"]
        assert "regions" in json.dumps(ticket["post"]["requestBody"])
        assert "get" in paths[f"/htsget/{datatype}/service-info"]

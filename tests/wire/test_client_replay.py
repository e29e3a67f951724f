"""Our client sends what the reference's client was recorded to send.

Three servers play Score, Song and the store and answer each request as recorded. What was recorded compressed cannot
be read any more; those answers are made again from the recorded facts (sizes, parts, digests, states). A case passes
when our client makes the same calls, with the same parameters and the headers that matter, in the same order within
each object – but for the differences in ``OURS``, each of which the contract allows or asks for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from score.cli.main import main
from score.protocol.parts import MIB, Span, plan_upload
from score.protocol.wire import Part, Progress, Specification, to_json
from score.testing.background import Background

RECORDED = Path(__file__).parent / "recorded"
TOKEN = "720dffc1-628f-49f2-992f-f09b8ba2ae2a"
UPLOAD_ID = "MmJiOGVkYjEtNDc2OC00"
SENTINEL = "/object/data/heliograph"
TEN = b"0123456789"


def object_id(number: int) -> str:
    """An object of the recordings."""
    return f"5c0eca11-0000-4000-8000-{number:012x}"


@cache
def payload(seed: int, size: int) -> bytes:
    """A file of the recordings."""
    return random.Random(seed).randbytes(size)


def stored(object_id: str) -> bytes:
    """What an object holds. Some bytes were not kept by the recording; others, as many, stand in for them."""
    match int(object_id[-4:], 16):
        case 0x01 | 0x02 | 0x20:
            return payload(2, 45_000_000)
        case 0x08 | 0x24:
            return payload(3, 200_000_000)
        case 0x30:
            return payload(30, 1_963_170)
        case 0x31:
            return payload(31, 2_400)
        case 0x23:
            return b"alien bytes"
        case _:
            return TEN


def md5(data: bytes | memoryview) -> str:
    """MD5 in hex."""
    return hashlib.md5(data).hexdigest()


@dataclass(frozen=True)
class Call:
    """A request as it is compared. ``query`` is without signatures; ``body`` is size and MD5 of what was sent."""

    to: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    range: str = ""
    body: tuple[int, str] | None = None
    authorized: bool = False

    @property
    def key(self) -> object:
        """What an answer is found by."""
        return (
            self.to,
            self.method,
            self.path,
            tuple(pair for pair in self.query if pair[0] != "overwrite"),
            self.range,
        )

    @property
    def object(self) -> str:
        """The object that the call is about, empty where it is about none."""
        found = re.search(r"/([0-9a-f]{8}-[0-9a-f-]{27})\b", self.path)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.to} {self.method} {self.path} {dict(self.query)} {self.range} {self.body or ''}"


def make_call(to: str, method: str, path: str, query: str, headers: dict[str, str], body: Any) -> Call:
    """A call in the form in which calls are compared. Header names in lower case."""
    pairs = [
        (name, value) for name, value in parse_qsl(query, keep_blank_values=True) if not name.startswith("X-Amz")
    ]
    sent = (int(body["size"]), str(body["md5"])) if body else None
    return Call(to, method, path, tuple(sorted(pairs)), headers.get("range", ""), sent, "authorization" in headers)


@dataclass(frozen=True)
class Exchange:
    """A recorded call and the status and body of its answer."""

    call: Call
    status: int
    body: Any
    broken_off: bool = False


@dataclass
class Case:
    """A recorded run of the client; ``exit`` is None where it was killed."""

    name: str
    says: str
    exchanges: list[Exchange] = field(default_factory=list)
    exit: int | None = None
    note: dict[str, Any] = field(default_factory=dict)


@cache
def cases() -> dict[str, Case]:
    """All recorded runs, by ``file/case``."""
    found: dict[str, Case] = {}
    for path in sorted(RECORDED.glob("client-*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            document = json.loads(line.replace("<uploadId>", UPLOAD_ID).replace("<uploadId-2>", UPLOAD_ID + "2"))
            name = f"{path.stem}/{document['case']}"
            case = found.setdefault(name, Case(name, document.get("says", "")))
            if "method" in document:
                headers = {key.lower(): value for key, value in document["headers"]}
                call = make_call(
                    document["to"],
                    document["method"],
                    document["path"],
                    document["query"],
                    headers,
                    document.get("body"),
                )
                answer = document.get("answer") or {}
                broken_off = bool(document.get("broken_off"))
                case.exchanges.append(Exchange(call, answer.get("status", 0), answer.get("body"), broken_off))
            else:
                case.exit = document.get("exit", case.exit)
                case.note |= document.get("note", {})
    return found


class Player:
    """Plays Score, Song and the store for one case. ``seen`` are the calls in the order in which they came."""

    def __init__(self, case: Case, extra: Sequence[Exchange] = ()) -> None:
        self.seen: list[Call] = []
        self.unexpected: list[str] = []
        self.secrets: list[str] = []
        self.beyond = threading.Event()
        self._case = case
        self._left: dict[object, list[Exchange]] = {}
        for exchange in [*case.exchanges, *extra]:
            self._left.setdefault(exchange.call.key, []).append(exchange)
        self._completed: set[str] = set()
        self._background = Background("player")
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Player:
        self._background.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._background.run(self._runner.cleanup())
        self._background.close()

    async def _start(self) -> None:
        application = web.Application(client_max_size=64 * MIB)
        application.add_routes([web.route("*", "/{tail:.*}", self._answer)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        for to in ("score", "song", "store"):
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.urls[to] = f"http://127.0.0.1:{self._runner.addresses[-1][1]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        to = next(
            to for to, url in self.urls.items() if url.endswith(f":{request.transport.get_extra_info('sockname')[1]}")
        )  # type: ignore[union-attr]
        data = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.rel_url.raw_path
        sent = {"size": len(data), "md5": await asyncio.to_thread(md5, data)} if request.method == "PUT" else None
        call = make_call(to, request.method, path, request.query_string, headers, sent)
        self._check_headers(call, headers, len(data))
        known = self._left.get(call.key)
        if known is None or (known[0].broken_off):
            self.beyond.set()
            if self._case.exit is None:
                await asyncio.Event().wait()  # the client is killed now
            self.unexpected.append(str(call))
            return web.Response(status=418, text="That was never recorded.")
        self.seen.append(call)
        exchange = known.pop(0) if len(known) > 1 else known[0]
        return await asyncio.to_thread(self._respond, call, exchange, data)

    def _check_headers(self, call: Call, headers: dict[str, str], length: int) -> None:
        """Note what must never be sent, and what is missing of what must be."""
        if call.to == "store" and {"authorization", "x-score-token", "cookie"} & headers.keys():
            self.secrets.append(f"a credential for the store: {call}")
        if call.authorized and headers["authorization"] != f"Bearer {TOKEN}":
            self.secrets.append(f"another token: {call}")
        if call.method in ("PUT", "POST") and headers.get("content-length") != str(length):
            self.secrets.append(f"no length: {call}")
        if call.to != "store" and "json" not in headers.get("accept", ""):
            self.secrets.append(f"no JSON accepted: {call}")

    def _respond(self, call: Call, exchange: Exchange, data: bytes) -> web.Response:
        status, body = exchange.status, exchange.body
        if call.to == "store":
            return self._store(call, status, data)
        if status >= 400:
            text = body if isinstance(body, str) and not body.startswith("\x1f") else None
            error = {"timestamp": "2026-11-22T01:50:35.013+00:00", "status": status, "path": call.path}
            return web.Response(status=status, text=text) if text else web.json_response(error, status=status)
        if call.to == "song":
            return web.json_response(body)
        if call.path == "/download/ping":
            return web.Response(text=f"{self.urls['store']}{SENTINEL}?X-Amz-Signature=s")
        if call.path == "/profile":
            return web.Response(text="s3")
        if call.path.startswith("/download/"):
            return _json(self._object(call))
        if call.path.endswith("/uploads"):
            return _json(self._started(call))
        if call.path.endswith("/status"):
            return _json(self._progress(call))
        if call.method == "GET":
            exists = call.object in self._completed or "*M" in str(body)  # "true" in a deflated body
            return web.json_response(exists)
        if call.method == "POST" and call.path.endswith(call.object):
            self._completed.add(call.object)
        return web.Response()

    def _store(self, call: Call, status: int, data: bytes) -> web.Response:
        if call.path == SENTINEL:
            return web.Response(headers={"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'})
        if call.method == "PUT":
            return web.Response(headers={"ETag": f'"{md5(data)}"'})
        first, last = (int(number) for number in call.range.removeprefix("bytes=").split("-"))
        whole = memoryview(stored(call.object))
        headers = {
            "ETag": '"0ab6fcb210f6144ddbbba6e46abf8c59-10"',
            "Content-Range": f"bytes {first}-{last}/{len(whole)}",
        }
        return web.Response(status=status, body=bytes(whole[first : last + 1]), headers=headers)

    def _parts(
        self, spans: Sequence[Span], object_id: str, query: str, sources: Callable[[int, Span], str | None]
    ) -> list[Part]:
        base = f"{self.urls['store']}/object/data/{object_id}?"
        return [
            Part(
                part_number=number,
                part_size=span.length,
                offset=span.offset,
                url=f"{base}{query.format(number)}X-Amz-Expires=86400&X-Amz-Signature=s",
                source_md5=sources(number, span),
            )
            for number, span in enumerate(spans, 1)
        ]

    def _object(self, call: Call) -> Specification:
        """Of an object, or of a range of it; the one without ``.meta`` has no digests."""
        query = dict(call.query)
        data = memoryview(stored(call.object))
        offset, length = int(query["offset"]), int(query["length"])
        whole = offset == 0 and length < 0
        plain = call.object == object_id(0x23)
        spans = _plan(len(data)) if whole else [Span(offset, length)]
        size = len(data) if whole else length
        if query.get("external") == "true":
            spans, size = [Span(0, -1)], -1

        def source(number: int, span: Span) -> str | None:
            return md5(data[span.offset : span.end]) if whole and not plain and span.length >= 0 else None

        parts = self._parts(spans, call.object, "", source)
        if query.get("exclude-urls") == "true":
            parts = [part.changed(url=None) for part in parts]
        return _specification(
            call.object, UPLOAD_ID if whole else call.object, parts, size, None if plain else md5(data)
        )

    def _upload_id(self, object_id: str) -> str:
        """The upload that the recorded client was given for an object."""
        given = [
            value
            for e in self._case.exchanges
            for name, value in e.call.query
            if name == "uploadId" and e.call.object == object_id
        ]
        return given[0] if given else UPLOAD_ID

    def _started(self, call: Call) -> Specification:
        query = dict(call.query)
        size, upload_id = int(query["fileSize"]), self._upload_id(call.object)
        parts = self._parts(_plan(size), call.object, f"uploadId={upload_id}&partNumber={{}}&", lambda *_: None)
        return _specification(call.object, upload_id, parts, size, query["md5"])

    def _progress(self, call: Call) -> Progress:
        """Of the upload that was killed after five parts; of the one begun elsewhere nothing is finished."""
        size, upload_id = int(dict(call.query)["fileSize"]), self._upload_id(call.object)
        data = memoryview(stored(call.object))

        def source(number: int, span: Span) -> str | None:
            return md5(data[span.offset : span.end]) if number <= 5 and size == len(data) > 10 else None

        parts = self._parts(_plan(size), call.object, f"uploadId={upload_id}&partNumber={{}}&", source)
        return Progress(object_id=call.object, upload_id=upload_id, parts=parts)


def _plan(size: int) -> list[Span]:
    """As the reference cuts: 20,000,000 bytes, raised to its floor."""
    return plan_upload(size, 20_000_000, floor=20 * MIB)


def _specification(object_id: str, upload_id: str, parts: list[Part], size: int, whole: str | None) -> Specification:
    return Specification(
        object_key=f"data/{object_id}",
        object_id=object_id,
        upload_id=upload_id,
        parts=parts,
        object_size=size,
        object_md5=whole,
    )


def _json(document: Specification | Progress) -> web.Response:
    return web.Response(body=to_json(document), content_type="application/json")


# ---- what is ours -----------------------------------------------------------------------------------------------

Calls = list[Call]
Rule = Callable[[Calls], Calls]


def without(*patterns: str) -> Rule:
    """The calls that match are not made."""

    def apply(calls: Calls) -> Calls:
        kept = [call for call in calls if not any(re.search(pattern, str(call)) for pattern in patterns)]
        assert len(kept) < len(calls), "a difference that is none"
        return kept

    return apply


def once(pattern: str) -> Rule:
    """Of several such calls in the recording only the last is made."""

    def apply(calls: Calls) -> Calls:
        numbers = [number for number, call in enumerate(calls) if re.search(pattern, str(call))]
        assert len(numbers) > 1, "a difference that is none"
        return [call for number, call in enumerate(calls) if number not in numbers[:-1]]

    return apply


def plus(after: str, *added: Call) -> Rule:
    """More calls, after the last one that matches."""

    def apply(calls: Calls) -> Calls:
        at = max(number for number, call in enumerate(calls) if re.search(after, str(call))) + 1
        return [*calls[:at], *added, *calls[at:]]

    return apply


def careful(calls: Calls) -> Calls:
    """An existing object is replaced only with ``--force``; the reference's client always asks for that."""

    def change(call: Call) -> Call:
        query = tuple((name, "false" if name == "overwrite" else value) for name, value in call.query)
        return replace(call, query=query)

    return [change(call) for call in calls]


def registered_first(calls: Calls) -> Calls:
    """The registry's record of a file is read before an upload is begun: a wrong file is found before it is sent."""
    made: Calls = []
    for call in calls:
        if call.path.endswith("/uploads"):
            made.append(Call("song", "GET", f"/entities/{call.object}", authorized=True))
        made.append(call)
    return made


def looked_after(calls: Calls) -> Calls:
    """A completion is believed only when the object is there."""
    made: Calls = []
    for call in calls:
        made.append(call)
        if call.method == "POST" and call.path == f"/upload/{call.object}":
            made.append(Call("score", "GET", call.path, authorized=True))
    return made


UPLOADED: list[Rule] = [careful, registered_first, looked_after]
"""What differs in every upload."""
ASKED_ONCE = once(r"GET /download/\S+ {'length'")
"""The reference asks for the specification twice."""


def _call(method: str, path: str, authorized: bool = True, body: tuple[int, str] | None = None, **query: str) -> Call:
    to = "store" if path.startswith("/object/") else "score"
    return Call(to, method, path, tuple(sorted(query.items())), body=body, authorized=authorized)


def _empty_upload(object_id: str) -> Calls:
    """A file of 0 bytes is uploaded as any other; the reference's client refuses it."""
    at = f"/upload/{object_id}"
    empty = md5(b"")
    return [
        _call("GET", at),
        _call("GET", f"{at}/status", fileSize="0"),
        Call("song", "GET", f"/entities/{object_id}", authorized=True),
        _call("POST", f"{at}/uploads", fileSize="0", overwrite="false", md5=empty),
        _call("PUT", f"/object/data/{object_id}", False, (0, empty), uploadId=UPLOAD_ID, partNumber="1"),
        _call("POST", f"{at}/parts", uploadId=UPLOAD_ID, partNumber="1", md5=empty, etag=empty),
        _call("POST", at, uploadId=UPLOAD_ID),
        _call("GET", at),
    ]


@dataclass(frozen=True)
class Run:
    """How a case is run: the words of the command, what must be there before, our exit status, what is ours."""

    words: str
    exit: int
    ours: Sequence[Rule] = ()
    before: dict[str, bytes | str] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    parallel: int = 1
    token: str = TOKEN


EMPTY = object_id(9)
NO_UPLOAD = 404
UPLOAD = "upload --object-id {0} --file f.bin"
DOWNLOAD = "download --object-id {0} --output-dir out"
EXCLUDED = {"exclude-urls": "true"}

RUNS: dict[str, Run] = {
    "client-upload/upload": Run(UPLOAD.format(object_id(1)), 0, UPLOADED, {"f.bin": "45"}),
    "client-upload/upload-parallel": Run(UPLOAD.format(object_id(2)), 0, UPLOADED, {"f.bin": "45"}, parallel=6),
    # What is there is compared before it is refused, or found to be the same.
    "client-upload/upload-exists": Run(
        UPLOAD.format(object_id(1)),
        3,
        [
            plus(
                r"GET /upload/",
                _call("GET", f"/download/{object_id(1)}", offset="0", length="-1", **EXCLUDED),
            )
        ],
        {"f.bin": TEN},
    ),
    "client-upload/upload-force": Run(
        UPLOAD.format(object_id(1)) + " --force", 0, [registered_first, looked_after], {"f.bin": TEN}
    ),
    "client-upload/upload-manifest": Run(
        "upload --manifest m.txt",
        0,
        UPLOADED,
        {
            "m.txt": f"a11aca11-0000-4000-8000-000000000001\t\t\n{object_id(3)}\tf.bin\t{md5(TEN)}\n"
            f"{object_id(4)}\tg.bin\t{md5(TEN)}\n",
            "f.bin": TEN,
            "g.bin": TEN,
        },
    ),
    "client-upload/upload-unregistered": Run(
        UPLOAD.format("dead0000-0000-4000-8000-000000000001"), 4, [careful, registered_first], {"f.bin": TEN}
    ),
    "client-upload/upload-published": Run(
        UPLOAD.format(object_id(5)), 3, [careful, registered_first], {"f.bin": TEN}
    ),
    "client-upload/upload-started-elsewhere": Run(UPLOAD.format(object_id(6)), 3, [], {"f.bin": TEN}),
    "client-upload/upload-forbidden": Run(UPLOAD.format(object_id(7)), 7, [], {"f.bin": TEN}),
    "client-upload/upload-unauthorized": Run(UPLOAD.format(object_id(7)), 6, [], {"f.bin": TEN}),
    "client-upload/upload-empty": Run(
        UPLOAD.format(EMPTY), 0, [plus("heliograph", *_empty_upload(EMPTY))], {"f.bin": b""}
    ),
    "client-download/download": Run(
        DOWNLOAD.format(object_id(0x20)), 0, [ASKED_ONCE], after={"f45.bin": payload(2, 45_000_000)}
    ),
    "client-download/download-exists": Run(DOWNLOAD.format(object_id(0x20)), 0, [], {"out/f45.bin": "45"}),
    "client-download/download-bundle": Run(
        DOWNLOAD.format(object_id(0x20)) + " --output-layout bundle --index false --verify-connection false",
        0,
        [ASKED_ONCE],
        after={"a11aca11-0000-4000-8000-000000000020/f45.bin": payload(2, 45_000_000)},
    ),
    # Of a range there is no index; and nobody asks for the specification of the whole.
    "client-download/download-range": Run(
        DOWNLOAD.format(object_id(0x20)) + " --output-layout id --offset 100 --length 1000 --validate false",
        0,
        [without(r"GET /entities {", r"GET /download/\S+ {'length': '-1'")],
        after={object_id(0x20): payload(2, 45_000_000)[100:1100]},
    ),
    "client-download/download-manifest": Run(
        "download --manifest m.tsv --output-dir out",
        0,
        [ASKED_ONCE],
        {
            "m.tsv": "repo_code\tfile_id\tobject_id\tfile_format\tfile_name\tfile_size\tmd5_sum\tindex_object_id\t"
            f"donor_id/donor_count\tproject_id/project_count\tstudy\n\t\t{object_id(0x20)}\t\t\t\t\t\t\t\t\n"
        },
        {"f45.bin": payload(2, 45_000_000)},
    ),
    "client-download/url": Run(f"url --object-id {object_id(0x20)}", 0),
    # The reference ends with 0.
    "client-download/download-unregistered": Run(DOWNLOAD.format("dead0000-0000-4000-8000-000000000001"), 4),
    "client-download/download-unpublished": Run(DOWNLOAD.format(object_id(0x21)), 3),
    "client-download/download-forbidden": Run(DOWNLOAD.format(object_id(0x22)), 7),
    "client-download/download-without-meta": Run(
        DOWNLOAD.format(object_id(0x23)), 0, [ASKED_ONCE], after={"alien.bin": b"alien bytes"}
    ),
    # What the registry said of an analysis is not asked again for each of its files.
    "client-analysis-download/analysis": Run(
        "download --analysis-id a11aca11-0000-4000-8000-0000000000aa --study-id TEST-CA --output-dir out",
        0,
        [
            without(r"GET /entities/"),
            once(r"GET /entities {'gnosId': '[^']+', 'page': '0', 'size'"),
            once(rf"GET /download/{object_id(0x30)}"),
            once(rf"GET /download/{object_id(0x31)}"),
        ],
        after={"a.bam": payload(30, 1_963_170), "a.bam.bai": payload(31, 2_400)},
    ),
    "client-analysis-download/object-with-index": Run(
        DOWNLOAD.format(object_id(0x30)),
        0,
        [once(rf"GET /download/{object_id(0x30)}"), once(rf"GET /download/{object_id(0x31)}")],
        after={"a.bam": payload(30, 1_963_170), "a.bam.bai": payload(31, 2_400)},
    ),
}
RESUMED: dict[str, tuple[Run, Run]] = {
    "client-resume": (
        Run(UPLOAD.format(object_id(8)), 0, [careful, registered_first], {"f.bin": "200"}),
        # Parts that are finished are not sent again; the reference sends all.
        Run(
            UPLOAD.format(object_id(8)),
            0,
            [without(r"'partNumber': '[1-5]'"), looked_after],
        ),
    ),
    "client-download-resume": (
        Run(DOWNLOAD.format(object_id(0x24)), 0, [ASKED_ONCE]),
        Run(DOWNLOAD.format(object_id(0x24)), 0, [], after={"f200.bin": payload(3, 200_000_000)}),
    ),
}


# ---- the tests --------------------------------------------------------------------------------------------------


def expected(case: Case, run: Run) -> Calls:
    """The calls that our client has to make: the recorded ones, with what is ours."""
    calls = [exchange.call for exchange in case.exchanges if not exchange.broken_off]
    for rule in run.ours:
        calls = rule(calls)
    return calls


def extras(case: Case, calls: Calls) -> list[Exchange]:
    """Answers to the calls that only our client makes."""
    known = {exchange.call.key for exchange in case.exchanges}
    made = []
    for call in calls:
        if call.key not in known:
            nothing = call.to == "song" or call.path.endswith("/status")
            made.append(Exchange(call, NO_UPLOAD if nothing else 200, None))
    return made


def in_order(calls: Calls) -> dict[str, list[str]]:
    """The calls of each object in order; parts of a download, which may come in any order, sorted."""
    groups: dict[str, list[str]] = {}
    ranges: dict[str, list[str]] = {}
    for call in calls:
        if call.range:
            ranges.setdefault(call.object, []).append(str(call))
        else:
            groups.setdefault(call.object, []).append(str(call))
    for name, texts in ranges.items():
        groups.setdefault(name, []).extend(sorted(texts))
    return groups


def prepare(folder: Path, run: Run, urls: dict[str, str]) -> None:
    """The files and settings of a run."""
    for name, content in run.before.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        match content:
            case "45":
                path.write_bytes(payload(2, 45_000_000))
            case "200":
                path.write_bytes(payload(3, 200_000_000))
            case str():
                path.write_text(content)
            case _:
                path.write_bytes(content)
    (folder / "application.properties").write_text(
        f"storage.url={urls['score']}\nmetadata.url={urls['song']}\naccessToken={run.token}\n"
        f"transport.parallel={run.parallel}\nstorage.retryNumber=3\nstorage.retryTimeout=0\n"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ACCESSTOKEN", "STORAGE_URL", "METADATA_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return tmp_path


@pytest.fixture(scope="module", autouse=True)
def clean() -> Iterator[None]:
    yield
    payload.cache_clear()


def check(player: Player, case: Case, run: Run, folder: Path, wanted: Calls) -> None:
    """Whether the client did what it has to."""
    assert player.unexpected == []
    assert player.secrets == []
    if run.parallel == 1:
        assert in_order(player.seen) == in_order(wanted)
    assert Counter(map(str, player.seen)) == Counter(map(str, wanted))
    assert {str(c): c.authorized for c in player.seen} == {str(c): c.authorized for c in wanted}
    out = folder / "out"
    for name, content in run.after.items():
        assert (out / name).read_bytes() == content
    if run.after:
        left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
        assert left == sorted(run.after)
        if "output" in case.note:
            assert left == sorted(name.split(" (")[0] for name in case.note["output"])


def test_every_recorded_run_is_replayed() -> None:
    replayed = {*RUNS, *(f"{name}/{part}" for name in RESUMED for part in ("killed", "resumed"))}
    assert replayed == cases().keys()


@pytest.mark.parametrize("name", RUNS)
def test_a_run(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case, run = cases()[name], RUNS[name]
    wanted = expected(case, run)
    with Player(case, extras(case, wanted)) as player:
        prepare(folder, run, player.urls)
        with pytest.raises(SystemExit) as ended:
            main(run.words.split())
        out, err = capfd.readouterr()
        assert ended.value.code == run.exit, err
        check(player, case, run, folder, wanted)
        assert (out == "") == (name != "client-download/url")
    assert list(folder.glob(".*-*")) == []


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_was_killed_and_is_gone_on_with(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = RESUMED[name]
    case = cases()[f"{name}/killed"]
    wanted = expected(case, first)
    with Player(case, extras(case, wanted)) as player:
        prepare(folder, first, player.urls)
        words = [sys.executable, "-m", "score.cli.main", *first.words.split()]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL) as client:
            assert player.beyond.wait(120)
            client.kill()
        check(player, case, first, folder, wanted)
    state = case.note["local state"]
    for entry in state:
        name_of, size = re.fullmatch(r"(\S+) \((\d+)\)", entry).groups()  # type: ignore[union-attr]
        path = (folder / "out" if name.startswith("client-download") else folder) / name_of
        assert path.is_file()
        if "/" not in name_of:
            assert path.stat().st_size == int(size)
    case = cases()[f"{name}/resumed"]
    wanted = expected(case, second)
    with Player(case, extras(case, wanted)) as player:
        prepare(folder, second, player.urls)
        with pytest.raises(SystemExit) as ended:
            main(second.words.split())
        assert ended.value.code == 0, capfd.readouterr().err
        check(player, case, second, folder, wanted)
    assert list(folder.rglob(".*-*")) == []

"""What an operator wants to know before users do: each part of a site tried out, and what mends it.

Health looks; checks also write: a small object in each bucket, and a part of an upload by a signed URL, as a client
would. All of it is removed again. Where web pages may call the server, the store has to let them send and fetch the
bytes too: it is asked as a browser asks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import ssl
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from score.broker.buckets import buckets_of, with_others
from score.broker.health import Health
from score.broker.state import Layout
from score.broker.web import Web
from score.errors import ScoreError
from score.protocol.parts import Span
from score.storage.base import ObjectStore, PlannedPart, UploadId, stored_part

log = logging.getLogger(__name__)
R = TypeVar("R")

_PATIENCE = 20.0
"""Seconds for one check."""
_BYTES = b"score check"
_PART = PlannedPart(1, Span(0, len(_BYTES)))
_LIFE = timedelta(hours=1)
"""Of URLs to try out: longer than the clocks of server and store may differ."""
_AT_ONCE = 16
"""Buckets of a pool that are tried at a time."""
_GRANT = "grant the account to write and delete."
_POLICY = re.compile(r"policy '([^']+)' \(bucket\.policy\.(\w+)\) of container '[^']+' (does not exist|expired)")
"""Policies of Azure that its store found wrong, in the store's words."""
_ELSEWHERE = "The bytes were taken, but are not in the store: another service answers at that address."


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``problem`` is empty when all is well; ``remedy`` is the command or the setting to
    change. ``needed``: nothing works without."""

    name: str
    problem: str = ""
    remedy: str = ""
    needed: bool = False

    def __str__(self) -> str:
        return f"WRONG  {self.name}: {self.advice}" if self.problem else f"ok     {self.name}"

    @property
    def advice(self) -> str:
        """The problem and what mends it."""
        return self.problem + (f" Mend it: {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Remedies:
    """What the operator can do, in words of this site's settings."""

    endpoint: str = ""
    registry: str = ""
    authorization: str = "check auth.server.url and the settings of JWTs."
    sentinel: str = "score-server check --fix"
    clock: str = "timedatectl set-ntp true"
    client_urls: str = "check s3.preSignedUrl.override.host, and that clients reach that address."
    azure_account: str = ""
    azure_endpoint: str = ""

    def cors(self, buckets: Sequence[str], origin: str) -> str:
        """For buckets of a store that do not let the pages of an origin call them."""
        if self.azure_account:
            return (
                f"az storage cors add --account-name {self.azure_account} --services b --origins {origin}"
                " --methods GET PUT OPTIONS --allowed-headers '*' --exposed-headers ETag --max-age 600"
            )
        rule = {
            "AllowedOrigins": [origin],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
        }
        where = f"--endpoint-url {self.endpoint} " if self.endpoint else ""
        rules = json.dumps({"CORSRules": [rule]})
        return _for_each(
            buckets, lambda name: f"aws {where}s3api put-bucket-cors --bucket {name} --cors-configuration '{rules}'"
        )

    def bucket(self, names: Sequence[str], problem: str) -> str:
        """For buckets that cannot be used."""
        if "ContainerNotFound" in problem:
            return self._az("container create", f"--name {names[0]}")
        if policies := _POLICY.findall(problem):
            return " && ".join(self._policy(names[0], *policy) for policy in policies)
        if "NoSuchBucket" in problem and self.endpoint:
            return _for_each(names, lambda name: f"aws --endpoint-url {self.endpoint} s3 mb s3://{name}")
        if "InvalidBucketName" in problem:
            return f"choose another name than {names[0]}: 3 to 63 lower-case letters, digits, dots and dashes."
        if "No secure connection" in problem:
            return (
                "write http:// before the address if the store speaks no TLS; if its certificate is its own, name the"
                " file of that: SSL_CERT_FILE=FILE score-server"
            )
        if "clock" in problem.lower() or "TooSkewed" in problem:
            return self.clock
        if "connection to the store failed" in problem or "in time" in problem:
            return f"check that the store runs and is reached from here{self.endpoint and f' at {self.endpoint}'}."
        return ""

    def _policy(self, container: str, name: str, kind: str, what: str) -> str:
        """For a stored access policy that is missing, or has expired."""
        where = f"--container-name {container} --name {shlex.quote(name)}"
        if what == "expired":
            return self._az("container policy update", f"{where} --expiry YYYY-MM-DDThh:mmZ")
        return self._az("container policy create", f"{where} --permissions {'cw' if kind == 'upload' else 'r'}")

    def _az(self, what: str, options: str) -> str:
        at = f" --blob-endpoint {self.azure_endpoint}" if self.azure_endpoint else ""
        return f"az storage {what} --account-name {self.azure_account} {options}{at}"


class Checks:
    """The checks of one site. ``signed``: whether the signed URLs can be tried out from here; ``origins``: the web
    pages that may call the server; ``tls``: whom to believe."""

    def __init__(
        self,
        health: Health,
        objects: ObjectStore,
        state: ObjectStore,
        layout: Layout,
        sentinel: str,
        remedies: Remedies,
        *,
        signed: bool,
        origins: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._health = health
        self._objects = objects
        self._state = state
        self._layout = layout
        self._sentinel = layout.sentinel(sentinel)
        self._remedies = remedies
        self._signed = signed
        self._origins = origins
        self._web = Web(tls)

    async def run(self, *, fix: bool = False) -> list[Finding]:
        """All findings, in the order in which they build upon one another. With ``fix`` a missing sentinel is put."""
        report = await self._health.report()
        if fix and report.ok and report.problems.get("sentinel"):
            await self._objects.put(self._sentinel, b"")
            report = await self._health.report()
        findings = [self._explain(name, problem) for name, problem in report.problems.items()]
        if report.ok:
            findings.append(await self._write("objectBucket, writing", self._objects, self._layout.data_prefix))
            findings.append(await self._write("stateBucket, writing", self._state, f"{self._layout.uploads}/"))
            if self._signed:
                there = not report.problems.get("sentinel")
                findings.append(await self._try("URLs for clients", lambda: self._use_urls(there)))
                if self._origins:
                    findings.append(await self._try("CORS of the store", self._ask_as_a_page))
        return findings

    async def log_problems(self) -> None:
        """Say in the log what is wrong, with what to do; for the start."""
        findings = await self.run()
        for finding in findings:
            if finding.problem:
                level = logging.ERROR if finding.needed else logging.WARNING
                log.log(level, "Check of %s: %s", finding.name, finding.advice)
        wrong = sum(bool(finding.problem) for finding in findings)
        log.info("Checked %s: %d problems", "; ".join(finding.name for finding in findings), wrong)

    def _explain(self, name: str, problem: str) -> Finding:
        known = {
            "sentinel": self._remedies.sentinel if self._sentinel in problem and "is not in" in problem else "",
            "clock": self._remedies.clock,
            "registry": self._remedies.registry,
            "authorization": self._remedies.authorization,
            "objectBucket": self._remedies.bucket(_named(self._objects, problem), problem),
            "stateBucket": self._remedies.bucket(_named(self._state, problem), problem),
        }
        return Finding(name, problem, known.get(name, "") if problem else "", needed=name.endswith("Bucket"))

    async def _try(self, name: str, check: Callable[[], Awaitable[Finding | None]]) -> Finding:
        try:
            return await asyncio.wait_for(check(), _PATIENCE) or Finding(name)
        except TimeoutError:
            return Finding(name, f"No end within {_PATIENCE:.0f} s.", needed=True)
        except ScoreError as error:
            return Finding(name, error.message, error.hint or _GRANT, needed=True)

    async def _write(self, name: str, store: ObjectStore, folder: str) -> Finding:
        """Write a small object to each bucket of a store, and remove it."""

        async def write(bucket: ObjectStore) -> str:
            key = f"{folder}.check-{uuid.uuid4().hex}"
            await bucket.put(key, _BYTES)
            await bucket.delete(key)
            return ""

        return await self._try(name, lambda: _each(name, store, write, _GRANT))

    async def _use_urls(self, sentinel_is_there: bool) -> Finding | None:
        """Send a part to each bucket, and read the sentinel, by signed URLs."""
        name, remedy = "URLs for clients", self._remedies.client_urls
        send = self._send_block if self._objects.limits.profile == "az" else self._send_part
        found = await _each(name, self._objects, send, remedy)
        if found is None and sentinel_is_there:
            (url,) = self._objects.sign_gets(self._sentinel, [None], _LIFE)
            if problem := await self._web.send("GET", url):
                return Finding(name, problem, remedy)
        return found

    async def _send_part(self, bucket: ObjectStore) -> str:
        key = self._layout.object(str(uuid.uuid4()))
        upload = await bucket.begin(key)
        try:
            (url,) = bucket.sign_parts(key, upload, [_PART], _LIFE)
            problem = await self._web.send("PUT", url, _BYTES)
            if not problem and await stored_part(bucket, key, upload, 1) is None:
                return _ELSEWHERE
            return problem
        finally:
            await bucket.abort(key, upload)

    async def _send_block(self, container: ObjectStore) -> str:
        """The URL of an upload to Azure takes a small object whole, too; that leaves no blocks behind."""
        key = f"{self._layout.uploads}/.check-{uuid.uuid4().hex}"
        (url,) = container.sign_parts(key, await container.begin(key), [_PART], _LIFE)
        try:
            problem = await self._web.send("PUT", url, _BYTES, {"x-ms-blob-type": "BlockBlob"})
            return problem or ("" if await container.stat(key) else _ELSEWHERE)
        finally:
            await container.delete(key)

    async def _ask_as_a_page(self) -> Finding | None:
        """Ask the store what a browser asks before it sends, and before it shows, the bytes of a page's call."""
        for origin in self._origins:
            origin = "https://portal.example.org" if origin == "*" else origin
            buckets = buckets_of(self._objects)
            refused = await _gather(buckets, partial(self._refused, origin))
            wrong = [bucket.name for bucket, methods in zip(buckets, refused, strict=True) if methods]
            if wrong:
                methods = " and ".join(next(filter(None, refused)))
                where = f" in {', '.join(wrong)}" if len(buckets) > 1 else ""
                problem = f"The store does not let pages of {origin} {methods} bytes by signed URLs{where}."
                return Finding("CORS of the store", problem, self._remedies.cors(wrong, origin))
        return None

    async def _refused(self, origin: str, bucket: ObjectStore) -> list[str]:
        """The methods by which pages of an origin may not call a bucket."""
        (put,) = bucket.sign_parts(self._sentinel, UploadId("check"), [_PART], _LIFE)
        (get,) = bucket.sign_gets(self._sentinel, [None], _LIFE)
        wanted = "content-type,x-ms-blob-type" if bucket.limits.profile == "az" else "content-type"
        calls = (("PUT", put), ("GET", get))
        return [method for method, url in calls if not await self._web.allows(method, url, origin, wanted)]


def as_json(findings: list[Finding]) -> str:
    """The findings for programs."""
    listed = [
        {"name": one.name, "ok": not one.problem, "problem": one.problem, "remedy": one.remedy} for one in findings
    ]
    return json.dumps({"ok": not any(one.problem for one in findings), "checks": listed}, indent=2)


async def _gather(buckets: Sequence[ObjectStore], work: Callable[[ObjectStore], Awaitable[R]]) -> list[R]:
    """The results of ``work`` on each bucket, some of them at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(bucket: ObjectStore) -> R:
        async with gate:
            return await work(bucket)

    return await asyncio.gather(*map(one, buckets))


async def _each(
    name: str, store: ObjectStore, work: Callable[[ObjectStore], Awaitable[str]], remedy: str
) -> Finding | None:
    """What ``work`` finds in each bucket of a store. ``remedy``: where that is not the hint of an error."""

    async def one(bucket: ObjectStore) -> Finding | None:
        try:
            problem = await work(bucket)
        except ScoreError as error:
            return Finding(name, error.message, error.hint or _GRANT, needed=True)
        return Finding(name, problem, remedy) if problem else None

    buckets = buckets_of(store)
    found = await _gather(buckets, one)
    wrong = [(bucket.name, finding) for bucket, finding in zip(buckets, found, strict=True) if finding]
    if not wrong:
        return None
    (_, first), *others = wrong
    return replace(first, problem=with_others(first.problem, [other for other, _ in others]))


def _named(store: ObjectStore, problem: str) -> list[str]:
    """The buckets of a store that a problem names; the one without a number where it names none."""
    words = {word.strip(".") for word in re.split(r"[^\w.-]+", problem)}
    return [bucket.name for bucket in buckets_of(store) if bucket.name in words] or [store.name]


def _for_each(names: Sequence[str], command: Callable[[str], str]) -> str:
    """The command for one bucket, or a line of a shell for several."""
    if len(names) == 1:
        return command(names[0])
    return f"for bucket in {' '.join(names)}; do {command('$bucket')}; done"

"""A steady load on servers: many clients that finalise parts, over connections that they keep."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from score.errors import Unavailable

_AT_ONCE = 10
_SIZE = 8


@dataclass(frozen=True, slots=True)
class Laid:
    """An upload in progress whose parts are in the store and not recorded: ``etags`` in the order of the parts."""

    identity: str
    upload: str
    etags: list[str]

    def call(self, number: int) -> str:
        """Path and query of the call that finalises a part."""
        etag = self.etags[number - 1]
        query = urlencode({"partNumber": number, "uploadId": self.upload, "md5": etag, "etag": etag})
        return f"/upload/{self.identity}/parts?{query}"


def lay_upload(s3: Any, objects: str, state: str, identity: str, parts: int) -> Laid:
    """Make an upload of parts of a few bytes past the server, which takes it over, as it takes over the reference's.

    ``s3`` is a botocore client, ``objects`` and ``state`` are buckets.
    """
    key = f"data/{identity}"
    upload = str(s3.create_multipart_upload(Bucket=objects, Key=key)["UploadId"])

    def send(number: int) -> str:
        place = {"Bucket": objects, "Key": key, "UploadId": upload, "PartNumber": number}
        return str(s3.upload_part(**place, Body=number.to_bytes(_SIZE, "big"))["ETag"]).strip('"')

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        etags = list(pool.map(send, range(1, parts + 1)))
    document = {
        "objectKey": key, "objectId": identity, "uploadId": upload, "objectSize": _SIZE * parts,
        "parts": [{"partNumber": n + 1, "partSize": _SIZE, "offset": n * _SIZE} for n in range(parts)],
    }  # fmt: skip
    s3.put_object(Bucket=state, Key=f"upload/{identity}_{upload}/.meta", Body=json.dumps(document).encode())
    return Laid(identity, upload, etags)


class Finalisations:
    """Finalises parts over and over at ``url`` within the ``with`` block, ``rate`` calls a second in all, each of
    ``clients`` over one connection. Nothing is tried again: ``failed`` are the calls without a 200, in words."""

    def __init__(self, url: str, laid: Laid, *, rate: float, clients: int = 32) -> None:
        self._url = url
        self._laid = laid
        self._pause = clients / rate
        self._numbers = count()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(i / clients,)) for i in range(clients)]
        self._answered = threading.Condition()
        self.answers = 0
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, number: int, timeout: float = 60) -> None:
        """Return when so many more calls are answered. Unavailable where they are not in ``timeout`` seconds."""
        with self._answered:
            before = self.answers
            if not self._answered.wait_for(lambda: self.answers >= before + number, timeout):
                raise Unavailable(f"{self.answers - before} calls were answered in {timeout:.0f} s, not {number}.")

    def _work(self, phase: float) -> None:
        due = time.monotonic() + phase * self._pause
        with urllib3.PoolManager(maxsize=1, retries=False, timeout=60) as http:
            while not self._ended.wait(due - time.monotonic()):
                due = max(due + self._pause, time.monotonic())
                call = self._laid.call(next(self._numbers) % len(self._laid.etags) + 1)
                wrong = self._finalise(http, call)
                with self._answered:
                    self.answers += 1
                    if wrong:
                        self.failed.append(wrong)
                    self._answered.notify_all()

    def _finalise(self, http: urllib3.PoolManager, call: str) -> str:
        """Make a call; what was wrong with it."""
        try:
            answer = http.request("POST", self._url + call)
        except urllib3.exceptions.HTTPError as error:
            return f"{type(error).__name__} instead of an answer"
        return "" if answer.status == 200 else f"{answer.status}: {answer.data[:200]!r}"

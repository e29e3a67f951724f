"""Sending a file to Azure: blocks under one URL, then the list of them. Protocol, section 10."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from score.errors import AlreadyExists, Conflict, ScoreError, Unavailable
from score.protocol.blocks import UPLOAD_FIELD, block_id, block_size
from score.protocol.digests import new_md5, to_base64
from score.protocol.parts import Span, cut
from score.protocol.wire import Part
from score.transfer.events import Moved
from score.transfer.files import md5_of_span, read_span, translated
from score.transfer.http import place, store_error
from score.transfer.push import Push
from score.transfer.retry import Damaged

VERSION = "2021-12-02"
"""Of Azure's interface. Without it that of the URL's signature counts, which may know small blocks only."""
_DAMAGED = ("Md5Mismatch", "InvalidMd5", "InvalidOperation")
"""What a block is refused with whose bytes are not those of its MD5; the last one is the emulator's word."""
_IN_THE_WAY = "InvalidBlobOrBlock"
"""What a block is refused with whose id is longer or shorter than those of blocks that wait."""
_THERE = ("BlobAlreadyExists", "ConditionNotMet")
"""What a list of blocks is refused with where a blob is there that is not to be replaced."""
_LOST = ("InvalidBlockList", "InvalidBlobOrBlock", "InvalidBlockId")


def cut_blocks(parts: Sequence[Part], wanted: int) -> list[Part]:
    """The parts as blocks of ``wanted`` bytes, or more where there would be too many, numbered from 1; parts that are
    finished stay as they are. All have the URL of the first part."""
    size = block_size(sum(part.part_size for part in parts), wanted)
    pieces = [
        (piece, part.source_md5)
        for part in parts
        for piece in ([part.span] if part.source_md5 else cut(part.span, size) or [part.span])
    ]
    return [
        Part(part_number=number, part_size=span.length, offset=span.offset, url=parts[0].url, source_md5=md5)
        for number, (span, md5) in enumerate(pieces, 1)
    ]


@dataclass(frozen=True)
class BlockPush(Push):
    """One file on its way to a block blob. ``upload_id`` is left with the object; ``md5`` is, too, where the server
    does not do that: base64, empty else. Unless ``replace`` the blob is made only where there is none."""

    upload_id: str = ""
    md5: str = ""
    replace: bool = True
    _ids: dict[Span, str] = field(default_factory=dict)

    def send(self, parts: Sequence[Part], remaining: Sequence[Part]) -> str:
        self._ids.update({part.span: block_id(part.offset, part.source_md5) for part in parts if part.source_md5})
        return super().send(parts, remaining)

    def commit(self) -> None:
        """Make the object of the blocks. May be repeated. Raises Conflict where the store has lost one of them,
        AlreadyExists where an object is there that is not to be replaced."""
        lost = False

        def put(url: str) -> None:
            nonlocal lost
            try:
                self._put_list(url)
            except Unavailable:
                lost = True
                raise
            except AlreadyExists:
                if not lost:  # else it may be its own, of the call whose answer was lost: the completion tells
                    raise

        self.engine.persist(lambda: self.urls.use(1, put), f"{self.item}: committing the blocks")

    def _put(self, part: Part, url: str) -> str:
        """Put one block, which the store compares with its MD5."""
        with translated(self.source.path), self.source.open() as file:
            md5 = md5_of_span(file, part.span, self.engine.stop.check)
        if not part.part_size:
            return md5
        sent = 0

        def body() -> Iterator[memoryview]:
            nonlocal sent
            with translated(self.source.path), self.source.open() as file:
                for chunk in read_span(file, part.span, self.engine.budget.chunk):
                    for piece in self._paced(chunk):
                        yield piece
                        sent += len(piece)

        identity = block_id(part.offset, md5)
        headers = {
            "Content-Length": str(part.part_size),
            "Content-MD5": to_base64(md5),
            "x-ms-version": VERSION,
        }
        try:
            target = f"{url}&comp=block&blockid={quote(identity, safe='')}"
            response = self.engine.http.request("PUT", target, headers=headers, body=body())
            if response.status == 400 and response.headers.get("x-ms-error-code") in _DAMAGED:
                raise Damaged(f"{self.source.path}: part {part.part_number} did not arrive as it was sent")
            if response.status == 400 and response.headers.get("x-ms-error-code") == _IN_THE_WAY:
                raise Conflict(
                    f"PUT {place(url)}: blocks of another program wait there, beside which Azure takes none of"
                    f" {self.source.path}: their ids have another length.",
                    hint="Where that other upload is over, --force drops them and starts again; with a server of the"
                    " reference they go a week after they were put.",
                )
            if response.status >= 300:
                raise store_error(response, "PUT", url)
        except ScoreError:
            self.engine.listener(Moved(self.item, -sent))
            raise
        self._ids[part.span] = identity
        return md5

    def _put_list(self, url: str) -> None:
        names = "".join(f"<Latest>{self._ids[span]}</Latest>" for span in sorted(self._ids))
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{names}</BlockList>'.encode()
        headers = {
            "Content-Type": "application/xml",
            "Content-MD5": to_base64(new_md5(body).hexdigest()),
            "x-ms-version": VERSION,
            "x-ms-blob-content-type": "application/octet-stream",
            f"x-ms-meta-{UPLOAD_FIELD}": self.upload_id,
        }
        if self.md5:
            headers["x-ms-blob-content-md5"] = self.md5
        if not self.replace:
            headers["If-None-Match"] = "*"
        response = self.engine.http.request("PUT", f"{url}&comp=blocklist", headers=headers, body=body)
        if response.status == 400 and response.headers.get("x-ms-error-code") in _LOST:
            raise Conflict(
                f"PUT {place(url)}: blocks of {self.source.path} are not in the store any more.",
                hint="Another upload of the object may have dropped them. Run the same command again.",
            )
        if response.status in (409, 412) and response.headers.get("x-ms-error-code") in _THERE:
            raise AlreadyExists(
                f"{self.source.path}: the object came into the store during its upload; it was not replaced.",
                hint="To replace it: --force.",
            )
        if response.status >= 300:
            raise store_error(response, "PUT", url)

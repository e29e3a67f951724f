"""Reading local files to compare them, told like a transfer: it may take as long as one."""

from __future__ import annotations

from score.protocol.digests import new_md5
from score.protocol.parts import Span
from score.transfer.engine import Engine
from score.transfer.events import Checked
from score.transfer.files import Source, read_span, translated


def checked_md5(engine: Engine, source: Source, span: Span | None = None) -> str:
    """MD5 in hex of a file, or of a span of it. Tells the listener of each chunk, and takes a file only as it was
    when ``source`` was made. Say before by Planned how large it is. Raises Cancelled when the user asks to stop,
    Integrity where the file is another one or gets shorter meanwhile, Refused or NotFound where it cannot be read."""
    digest = new_md5()
    with translated(source.path), source.open() as file:
        for chunk in read_span(file, span or Span(0, source.size)):
            engine.stop.check()
            digest.update(chunk)
            engine.listener(Checked(str(source.path), len(chunk)))
    return digest.hexdigest()

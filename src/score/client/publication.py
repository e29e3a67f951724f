"""Publishing an analysis, and making sure of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from score.errors import Refused, ScoreError, Unavailable

if TYPE_CHECKING:
    from score.client.client import Client


def publish(client: Client, study: str, analysis: str) -> str:
    """Publish an analysis; gives what the metadata service says of it.

    A call without an answer may have published it all the same: with many files the service works for longer than
    clients and proxies wait. So the state that follows is what counts. Raises what
    :meth:`score.client.calls.Song.publish` does, and Refused where the analysis is not published then.
    """
    song, done = client.song, f"Analysis {analysis} is published."

    def once() -> str:
        try:
            said = song.publish(study, analysis)
        except Unavailable:
            with suppress(ScoreError):
                if song.is_published(study, analysis):
                    return done
            raise
        if not song.is_published(study, analysis):
            raise Refused(
                f"Analysis {analysis} is not published, though the metadata service did not refuse to do it.",
                hint="Check METADATA_URL, and whether somebody took the analysis back meanwhile.",
            )
        return said or done

    return client.engine.persist(once, f"publishing {analysis}")

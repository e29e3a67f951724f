"""What is there already: the same file, another one, and what is no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout
from score.client.outcome import Outcome, State
from score.errors import AlreadyExists
from score.testing.score import FaultyScore
from score.transfer.events import Checked, Planned

from .conftest import DATA, MD5, OBJECT, failure, fetch


class TestExisting:
    def test_the_same_file_is_already_there(self, client: Client, site: FaultyScore, out: Path) -> None:
        fetch(client, out)
        site.traffic.forget()
        site.heard.forget()
        assert fetch(client, out) == [Outcome(OBJECT, State.PRESENT, out / "a.bam", len(DATA), MD5)]
        assert [event.size for event in site.heard.of(Planned)] == [len(DATA)]
        assert sum(event.count for event in site.heard.of(Checked)) == len(DATA), "it is told that it is read"
        assert {event.item for event in site.heard.of(Checked)} == {str(out / "a.bam")}
        assert site.gets == []

    @pytest.mark.parametrize("layout", list(Layout))
    def test_so_it_is_in_every_layout(self, client: Client, site: FaultyScore, out: Path, layout: Layout) -> None:
        fetch(client, out, layout=layout)
        site.traffic.forget()
        assert fetch(client, out, layout=layout)[0].state is State.PRESENT
        assert site.gets == []

    @pytest.mark.parametrize(
        ("data", "says"),
        [(DATA[:-1], "bytes instead of"), (DATA[::-1], "with other contents"), (b"", "with 0 bytes")],
    )
    def test_another_file_is_not_replaced(self, client: Client, out: Path, data: bytes, says: str) -> None:
        out.mkdir()
        (out / "a.bam").write_bytes(data)
        error = failure(client, out)
        assert isinstance(error, AlreadyExists)
        assert says in error.message
        assert "--force" in error.hint
        assert (out / "a.bam").read_bytes() == data

    @pytest.mark.parametrize("layout", list(Layout))
    def test_with_force_it_is_replaced(self, client: Client, out: Path, layout: Layout) -> None:
        (outcome,) = fetch(client, out, layout=layout)
        assert outcome.path is not None
        outcome.path.write_bytes(b"other")
        assert fetch(client, out, layout=layout, force=True)[0].state is State.DOWNLOADED
        assert outcome.path.read_bytes() == DATA

    @pytest.mark.parametrize("kind", ["folder", "link to nothing", "pipe"])
    def test_whatever_is_there_is_not_touched(self, client: Client, site: FaultyScore, out: Path, kind: str) -> None:
        out.mkdir()
        match kind:
            case "folder":
                (out / "a.bam").mkdir()
            case "link to nothing":
                (out / "a.bam").symlink_to("nowhere")
            case _:
                os.mkfifo(out / "a.bam")
        assert isinstance(failure(client, out), AlreadyExists)
        assert site.gets == []

    def test_a_link_to_the_same_bytes_will_do(self, client: Client, out: Path, tmp_path: Path) -> None:
        out.mkdir()
        (tmp_path / "real.bam").write_bytes(DATA)
        (out / "a.bam").symlink_to(tmp_path / "real.bam")
        assert fetch(client, out)[0].state is State.PRESENT

    def test_a_file_whose_md5_nobody_knows_is_not_taken_for_the_object(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=False)
        fetch(client, out)
        error = failure(client, out)
        assert isinstance(error, AlreadyExists)
        assert "no MD5 is known" in error.message

    def test_an_earlier_download_by_id_is_not_lost(self, client: Client, out: Path) -> None:
        """It lies where the bytes of a download are gathered."""
        fetch(client, out, layout=Layout.ID)
        error = failure(client, out, layout=Layout.FILENAME)
        assert isinstance(error, AlreadyExists)
        assert OBJECT in error.message
        assert (out / OBJECT).read_bytes() == DATA
        assert fetch(client, out, layout=Layout.FILENAME, force=True)[0].state is State.DOWNLOADED

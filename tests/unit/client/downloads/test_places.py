"""Where objects land, and names and folders that are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout
from score.client.outcome import Outcome, State
from score.errors import Conflict, Invalid, NoSpace, Refused, ScoreError
from score.testing.faults import Answer
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from .conftest import ANALYSIS, DATA, MD5, OBJECT, OTHER, failure, fetch, files, interrupt


class TestPlaces:
    @pytest.mark.parametrize(
        ("layout", "place"), [(Layout.FILENAME, "a.bam"), (Layout.BUNDLE, f"{ANALYSIS}/a.bam"), (Layout.ID, OBJECT)]
    )
    def test_each_layout(self, client: Client, out: Path, layout: Layout, place: str) -> None:
        assert fetch(client, out, layout=layout) == [Outcome(OBJECT, State.DOWNLOADED, out / place, len(DATA), MD5)]
        assert (out / place).read_bytes() == DATA
        assert [name for name in files(out) if name != ANALYSIS] == [place]

    @pytest.mark.parametrize("layout", list(Layout))
    def test_it_is_resumed_in_each_layout(self, client: Client, site: FaultyScore, out: Path, layout: Layout) -> None:
        done = interrupt(client, site, out, layout=layout)
        (outcome,) = fetch(client, out, layout=layout)
        assert outcome.state is State.DOWNLOADED
        assert outcome.path is not None
        assert outcome.path.read_bytes() == DATA
        assert not set(site.gets) & done
        assert len(site.gets) == 3

    @pytest.mark.parametrize("layout", list(Layout))
    def test_unfinished_bytes_are_never_taken_for_the_object(
        self, client: Client, site: FaultyScore, out: Path, layout: Layout
    ) -> None:
        interrupt(client, site, out, layout=layout, validate=False)
        (outcome,) = fetch(client, out, layout=layout, validate=False)
        assert outcome.state is State.UNVERIFIED
        assert outcome.path is not None
        assert outcome.path.read_bytes() == DATA

    @pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "a\\b", "..", ""])
    def test_a_name_that_leads_elsewhere_is_refused(
        self, client: Client, song: FakeSong, out: Path, tmp_path: Path, name: str
    ) -> None:
        song.register(name, analysis=ANALYSIS, object_id=OBJECT)
        error = failure(client, out)
        assert isinstance(error, Invalid)
        assert files(tmp_path) == ["out"]
        assert fetch(client, out, layout=Layout.ID, index=False)[0].state is State.DOWNLOADED

    @pytest.mark.parametrize("suffix", ["", ".lock", ".owner", ".part", ".done"])
    @pytest.mark.parametrize("data", [DATA, b"small"])
    def test_a_name_of_the_state_of_a_transfer_is_refused(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path, suffix: str, data: bytes
    ) -> None:
        """What lies there is removed when the transfer ends."""
        site.fake.add(OBJECT, data)
        for name, analysis in ((f".{OBJECT}{suffix}", ANALYSIS), ("a.bam", f".{OBJECT}{suffix}")):
            song.register(name, analysis=analysis, object_id=OBJECT)
            client.catalog._entities.clear()
            error = failure(client, out, layout=Layout.BUNDLE, force=True, index=False)
            assert isinstance(error, Invalid)
            assert "the file could be lost" in error.message
        assert files(out) == []

    def test_a_name_that_is_too_long_is_refused_before_a_byte_moves(
        self, client: Client, song: FakeSong, site: FaultyScore, out: Path
    ) -> None:
        song.register("x" * 300, analysis=ANALYSIS, object_id=OBJECT)
        assert isinstance(failure(client, out), Refused)
        assert site.gets == []

    def test_two_objects_of_one_name_never_overwrite_one_another(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, object_id=OTHER)
        site.fake.add(OTHER, DATA[::-1])
        outcomes = fetch(client, out, OBJECT, OTHER)
        assert sorted(outcome.state for outcome in outcomes) == [State.DOWNLOADED, State.FAILED]
        assert any(isinstance(outcome.error, Conflict) for outcome in outcomes)
        (good,) = [outcome for outcome in outcomes if outcome.good]
        assert hashlib.md5((out / "a.bam").read_bytes()).hexdigest() == good.md5

    def test_a_name_that_is_the_id_of_another_object_is_no_way_to_its_bytes(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.register(OBJECT, analysis=ANALYSIS, object_id=OTHER)
        site.fake.add(OTHER, b"other")
        outcomes = fetch(client, out, OBJECT, OTHER)
        assert [type(outcome.error) for outcome in outcomes if not outcome.good] == [Conflict]

    @pytest.mark.parametrize("force", [False, True])
    def test_a_file_where_a_folder_has_to_be_is_named(
        self, client: Client, site: FaultyScore, out: Path, force: bool
    ) -> None:
        out.mkdir()
        (out / ANALYSIS).write_bytes(b"precious")
        error = failure(client, out, layout=Layout.BUNDLE, force=force)
        assert f"{out / ANALYSIS} is no folder" in error.message
        assert "--force" not in error.hint
        assert (out / ANALYSIS).read_bytes() == b"precious"
        (out / ANALYSIS).unlink()
        site.traffic.forget()
        assert fetch(client, out, layout=Layout.BUNDLE, force=force)[0].state is State.DOWNLOADED
        assert site.gets == []

    def test_an_output_folder_that_cannot_be_made_is_named(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(ScoreError, match=str(path)):
                fetch(client, path)

    def test_an_output_folder_that_cannot_be_written_to_is_named(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        for mode in (0o555, 0o444):
            out.mkdir(mode=mode)
            error = unprivileged(lambda: failure(client, out))
            assert isinstance(error, Refused)
            assert "Permission denied" in error.message
            out.rmdir()
        assert site.gets == []

    def test_a_disk_that_is_too_small_is_seen_before_a_byte_moves(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        specification = {
            "objectKey": "k",
            "objectId": OBJECT,
            "uploadId": "u",
            "objectSize": 10**18,
            "parts": [{"partNumber": 1, "partSize": 10**18, "offset": 0, "url": "http://x/", "md5": None}],
        }
        site.traffic.inject(Answer(200, json.dumps(specification).encode()), path="/download/")
        assert isinstance(failure(client, out), NoSpace)
        assert not (out / OBJECT).exists()

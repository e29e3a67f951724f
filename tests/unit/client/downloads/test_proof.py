"""What counts as verified, of whole objects and of ranges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout
from score.client.outcome import State
from score.client.rehearsal import rehearse_downloads
from score.errors import Conflict, Integrity, Invalid, Refused
from score.protocol.wire import Specification, to_json
from score.testing.faults import Answer, Flip
from score.testing.score import FaultyScore

from .conftest import DATA, MD5, OBJECT, PART, failure, fetch, interrupt


class TestProof:
    def test_a_flipped_byte_is_fetched_again(self, client: Client, site: FaultyScore, out: Path) -> None:
        site.traffic.inject(Flip(5), range=f"bytes={PART}-")
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA
        assert len(site.gets) == 7

    def test_what_nobody_can_prove_is_said_to_be_unverified(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=False, part_md5s=False)
        assert fetch(client, out)[0].state is State.UNVERIFIED

    def test_the_md5s_of_the_parts_are_a_proof(self, client: Client, site: FaultyScore, out: Path) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=False)
        assert fetch(client, out)[0].state is State.DOWNLOADED

    def test_md5s_in_capitals_are_the_same(self, client: Client, site: FaultyScore, out: Path) -> None:
        parts = [
            part.changed(source_md5=(part.source_md5 or "").upper()) for part in site.fake.download_parts(OBJECT)
        ]
        made = Specification(
            object_key="k",
            object_id=OBJECT,
            upload_id="u",
            parts=parts,
            object_size=len(DATA),
            object_md5=MD5.upper(),
        )
        site.traffic.inject(Answer(200, to_json(made)), path="/download/")
        assert fetch(client, out)[0].state is State.DOWNLOADED

    def test_an_object_that_is_not_what_is_registered_does_not_take_its_place(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        site.fake.objects[OBJECT].md5 = "0" * 32
        assert isinstance(failure(client, out), Integrity)
        assert not (out / "a.bam").exists()

    @pytest.mark.parametrize(
        "change",
        [
            {"objectSize": len(DATA) + 1},
            {"objectSize": len(DATA) - 1},
            {"parts": []},
            {"objectSize": -1},
        ],
        ids=str,
    )
    def test_a_specification_that_contradicts_itself_is_refused(
        self, client: Client, site: FaultyScore, out: Path, change: dict[str, object]
    ) -> None:
        made = Specification(
            object_key="k",
            object_id=OBJECT,
            upload_id="u",
            parts=site.fake.download_parts(OBJECT),
            object_size=len(DATA),
        )
        document = json.loads(to_json(made)) | change
        site.traffic.inject(Answer(200, json.dumps(document).encode()), path="/download/")
        error = failure(client, out)
        assert isinstance(error, Refused)
        assert "contradicts itself" in error.message

    def test_an_empty_object_works(self, client: Client, site: FaultyScore, out: Path) -> None:
        site.fake.add(OBJECT, b"")
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == b""

    def test_the_store_never_sees_the_token(self, client: Client, site: FaultyScore, out: Path) -> None:
        fetch(client, out)
        token = client.settings.token
        carried = {
            (exchange.path.startswith("/store/"), token in str(exchange.headers)) for exchange in site.traffic.seen()
        }
        assert carried == {(True, False), (False, True)}


class TestRanges:
    def test_a_range_lands_alone(self, client: Client, site: FaultyScore, out: Path) -> None:
        (outcome,) = fetch(client, out, offset=100, length=1000, layout=Layout.ID, index=False)
        assert (outcome.state, outcome.size) == (State.UNVERIFIED, 1000)
        assert (out / OBJECT).read_bytes() == DATA[100:1100]
        (asked,) = site.traffic.seen(path="/download/")
        assert asked.query == "offset=100&length=1000"
        assert site.gets == ["bytes=100-1099"]

    @pytest.mark.parametrize(
        ("offset", "length", "data"), [(5, -1, DATA[5:]), (0, 2 * PART, DATA[: 2 * PART]), (7, 0, b"")]
    )
    def test_ranges_of_all_kinds(self, client: Client, out: Path, offset: int, length: int, data: bytes) -> None:
        assert fetch(client, out, offset=offset, length=length)[0].good
        assert (out / "a.bam").read_bytes() == data

    @pytest.mark.parametrize("rehearsed", [False, True])
    @pytest.mark.parametrize(
        ("offset", "length", "answer", "says"),
        [
            (900_000, -1, None, "--offset 900,000 is beyond the end of"),
            (
                900_000,
                -1,
                Answer(400, b'{"message":"offset 900000 is beyond the end"}'),
                "--offset 900,000 is beyond the end of",
            ),
            (900_000, 5, Answer(500), "--offset 900,000 is beyond the end of"),
            (9, 900_000, Answer(500), "--offset and --length lead to 900,009, beyond the end of"),
        ],
        ids=["reference", "ours", "with length", "length"],
    )
    def test_one_beyond_the_end_is_the_users_to_correct(
        self,
        client: Client,
        site: FaultyScore,
        out: Path,
        offset: int,
        length: int,
        answer: Answer,
        says: str,
        rehearsed: bool,
    ) -> None:
        """The reference gives a negative size, or answers 500 without a word."""
        if answer is not None:
            site.traffic.inject(answer, path="/download/", query=f"offset={offset}")
        if rehearsed:
            (outcome,) = rehearse_downloads(client, [OBJECT], out, offset=offset, length=length)
            error = outcome.error
        else:
            error = failure(client, out, offset=offset, length=length)
        assert isinstance(error, Invalid)
        assert f"{says} {OBJECT}, which has {len(DATA):,} bytes." in error.message
        assert error.hint.startswith("Give a smaller")

    @pytest.mark.parametrize("status", [400, 500])
    def test_another_refusal_of_one_is_told_as_it_is(
        self, client: Client, site: FaultyScore, out: Path, status: int
    ) -> None:
        site.traffic.inject(Answer(status, b'{"message":"for another reason"}'), path="/download/", query="offset=9")
        error = failure(client, out, offset=9, length=10)
        assert isinstance(error, Conflict | Refused)
        assert "for another reason" in error.message

    def test_a_range_is_no_continuation_of_the_whole(self, client: Client, site: FaultyScore, out: Path) -> None:
        interrupt(client, site, out)
        assert fetch(client, out, offset=5, length=10)[0].good
        assert (out / "a.bam").read_bytes() == DATA[5:15]

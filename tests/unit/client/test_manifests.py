"""Manifests as they are found in the world."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score.client.client import Client
from score.client.manifest_source import LONGEST_LINE, Source, fetch
from score.client.manifest_source import download as download_manifest
from score.client.manifests import (
    DOWNLOAD_HEADER,
    DownloadManifest,
    UploadEntry,
    UploadManifest,
    parse,
    parse_download,
    parse_upload,
)
from score.client.tls import Tls
from score.errors import Conflict, Invalid, NotFound, Refused, ScoreError, Unavailable
from score.testing.certificates import Authority
from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.http import Http, Timeouts

MakeClient = Callable[..., Client]
ANALYSIS = "6d732a42-da6c-40a6-b32a-42da6c50a61c"
ONE = "5c0eca11-0000-4000-8000-000000000001"
TWO = "5c0eca11-0000-4000-8000-000000000002"
MD5 = "781e5e245d69b566979b86e28d23f2c7"
UPLOAD = f"{ANALYSIS}\t\t\n{ONE}\t/data/a.bam\t{MD5}\n{TWO}\tb.bam\t{MD5.upper()}\n"
HEADER = "\t".join(DOWNLOAD_HEADER)


def source(text: str) -> Source:
    return Source.of(text.encode("utf-8", "surrogatepass"), "manifest.txt", Path("/folder"))


def text_of(read: Source) -> str:
    return "".join(read.lines())


def download(*ids: str, header: str = HEADER) -> str:
    return "".join([f"{header}\n", *(f"aws\tFI1\t{i}\tBAM\tx.bam\t5\t{MD5}\t\tDO1\tPR1\tTEST-CA\n" for i in ids)])


class TestUpload:
    def test_a_plain_one(self) -> None:
        found = parse_upload(source(UPLOAD))
        assert found.analysis_id == ANALYSIS
        assert list(found.entries) == [
            UploadEntry(ONE, Path("/data/a.bam"), MD5),
            UploadEntry(TWO, Path("/folder/b.bam"), MD5),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            UPLOAD.replace("\n", "\r\n"),
            "\ufeff" + UPLOAD,
            "\n\n" + UPLOAD.replace("\n", "\n\n  \t\n"),
            UPLOAD.rstrip("\n"),
            UPLOAD.replace(f"{ANALYSIS}\t\t", ANALYSIS),
            UPLOAD.replace("\t", " \t "),
            UPLOAD.replace(MD5 + "\n", MD5 + "\tmore\tcolumns\n"),
        ],
        ids=["CRLF", "BOM", "blank lines", "no last line end", "bare header", "blanks around cells", "more columns"],
    )
    def test_the_same_in_other_hands(self, text: str, tmp_path: Path, client: Client) -> None:
        path = tmp_path / "manifest.txt"
        path.write_bytes(text.encode())
        read = fetch(str(path), "", client.http)
        assert [entry.object_id for entry in parse_upload(read).entries] == [ONE, TWO]
        assert parse_upload(read).analysis_id == ANALYSIS

    def test_paths_may_have_blanks_and_any_letters(self) -> None:
        found = parse_upload(source(f"{ANALYSIS}\t\t\n{ONE}\tmein Ordner/Größe Ω.bam\t{MD5}\n"))
        assert [one.path for one in found.entries] == [Path("/folder/mein Ordner/Größe Ω.bam")]

    @pytest.mark.parametrize(
        "name",
        [
            "a\N{NO-BREAK SPACE}b",
            "at 9.41\N{NARROW NO-BREAK SPACE}AM.png",
            "\u65e5\N{IDEOGRAPHIC SPACE}\u672c",
            "a\u200db",
        ],
    )
    def test_paths_may_have_blanks_that_are_none_of_ascii(self, name: str, tmp_path: Path) -> None:
        (tmp_path / f"{name}.bam").write_bytes(b"x")
        found = parse_upload(source(f"{ANALYSIS}\t\t\n{ONE}\t{tmp_path}/{name}.bam\t{MD5}\n"))
        assert next(iter(found.entries)).path.read_bytes() == b"x"

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (ONE, "line 2: three columns are needed (object id, path, md5), 1 are there"),
            (f"{ONE}\t/data/a.bam", "three columns are needed (object id, path, md5), 2 are there"),
            (f"{ONE} /data/a.bam {MD5}", "three columns are needed"),
            (f"{ONE}\t\t{MD5}", "three columns are needed (object id, path, md5), 2 are there"),
            (f"{ONE}\ta\t{MD5}\n{ANALYSIS}\t\t", "line 3: another manifest begins here; upload one after the other"),
            (f"a.bam\t{ONE}\t{MD5}", "'a.bam' is not an object id"),
            (f"{ONE}\ta.bam\tabc", "'abc' is not an MD5 checksum"),
            (f"{ONE}\ta\x00b\t{MD5}", "cannot be the name of a file"),
            (f"{ONE}\ta\x1b[2Jb\t{MD5}", "cannot be the name of a file"),
            (f"{ONE}\ta\x9bb\t{MD5}", "cannot be the name of a file"),
            (f"{ONE}\ta\t{MD5}\n{ONE}\tb\t{MD5}", f"line 3: object {ONE} is already in line 2"),
        ],
    )
    def test_a_wrong_line_is_named(self, line: str, says: str) -> None:
        with pytest.raises(Invalid, match=r"manifest\.txt is no usable manifest: ") as caught:
            parse_upload(source(f"{ANALYSIS}\t\t\n{line}\n"))
        assert says in caught.value.message

    def test_every_wrong_line_is_named_up_to_a_point(self) -> None:
        with pytest.raises(Invalid) as caught:
            parse_upload(source(f"{ANALYSIS}\t\t\n" + "x\ty\tz\n" * 100))
        assert "line 2:" in caught.value.message
        assert "line 6:" in caught.value.message
        assert "and 95 more lines" in caught.value.message
        assert len(caught.value.message) < 1000

    def test_a_file_in_the_place_of_the_header_is_not_passed_over(self) -> None:
        with pytest.raises(Invalid, match="line 1 is a file already"):
            parse_upload(source(f"{ONE}\ta\t{MD5}\n{TWO}\tb\t{MD5}\n"))

    @pytest.mark.parametrize("text", ["", "\n\n", " \t \r\n"])
    def test_an_empty_one_is_told_as_such(self, text: str) -> None:
        with pytest.raises(Invalid, match=r"manifest\.txt is empty"):
            parse_upload(source(text))

    def test_one_without_files_is_told_as_such(self) -> None:
        with pytest.raises(Invalid, match="names no file"):
            parse_upload(source(f"{ANALYSIS}\t\t\n"))

    @given(
        st.lists(
            st.tuples(
                st.uuids().map(str),
                st.from_regex(r"[\w.][\w. -]{0,20}[\w]", fullmatch=True),
                st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
            ),
            min_size=1,
            max_size=5,
            unique_by=lambda entry: entry[0],
        )
    )
    def test_what_is_written_is_read_again(self, entries: list[tuple[str, str, str]]) -> None:
        made = UploadManifest(ANALYSIS, [UploadEntry(i, Path("/data", name), md5) for i, name, md5 in entries])
        found = parse_upload(source(made.text()))
        assert (found.analysis_id, list(found.entries)) == (ANALYSIS, made.entries)

    @given(st.text(max_size=200))
    def test_no_text_is_too_odd(self, text: str) -> None:
        for read in (parse_upload, parse_download):
            with contextlib.suppress(Invalid):
                read(source(text))


class TestDownload:
    def test_a_plain_one(self) -> None:
        assert list(parse_download(source(download(ONE, TWO))).ids) == [ONE, TWO]

    def test_an_object_that_is_named_twice_is_fetched_once(self) -> None:
        assert list(parse_download(source(download(ONE, TWO, ONE))).ids) == [ONE, TWO]

    @pytest.mark.parametrize(
        "text",
        [
            download(ONE, TWO).replace("\n", "\r\n"),
            download(ONE, TWO).replace("\n", "\n\n"),
            download(ONE, TWO, header=HEADER.upper()),
            f"object_id\n{ONE}\n{TWO}\n",
            f"{HEADER}\n\t\t{ONE}\n\t\t{TWO}\n",
            f"file_name\tobject_id\na\t{ONE}\nb\t{TWO}\n",
        ],
        ids=["CRLF", "blank lines", "capitals", "one column", "only what must be", "another order"],
    )
    def test_the_same_in_other_hands(self, text: str) -> None:
        assert list(parse_download(source(text)).ids) == [ONE, TWO]

    @pytest.mark.parametrize("name", ["File UUID", "", "file_uuid"])
    def test_columns_by_their_place_where_the_header_has_other_words(self, name: str) -> None:
        """The reference's client does not look at the header of the eleven columns."""
        header = f"Repo code\tFile ID\t{name}\tFormat\tName\tSize\tmd5sum\tIndex\tDonor\tProject\tStudy"
        text = download(ONE, header=header) + f"aws\tFI2\t{TWO}\tBAM\ty.bam\t7\t{MD5}\t{ONE}\t\t\t\n"
        found = parse(source(text))
        assert isinstance(found, DownloadManifest)
        assert (list(found.objects), list(found.indexes)) == ([(ONE, 5), (TWO, 7)], [ONE])

    def test_eleven_columns_of_something_else(self) -> None:
        text = "\n".join(["\t".join("abcdefghijk"), "\t".join(map(str, range(11)))])
        with pytest.raises(Invalid, match="line 2: '2' is not an object id"):
            parse(source(text))

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (f"{ONE}\t\t\n", "no column object_id"),
            (UPLOAD, "no column object_id"),
            (HEADER.replace("\t", ",") + f"\na,b,{ONE}\n", "no column object_id"),
            (f"{HEADER}\naws\tFI1\n", "line 2: '' is not an object id"),
            (f"{HEADER}\naws\tFI1\tx\n", "line 2: 'x' is not an object id"),
            (f"{HEADER}\n", "names no object"),
            ("", "is empty"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, says: str) -> None:
        with pytest.raises(Invalid) as caught:
            parse_download(source(text))
        assert says in caught.value.message


class TestFetch:
    def test_a_folder(self, tmp_path: Path, client: Client) -> None:
        with pytest.raises(Invalid, match="is a folder, not a manifest"):
            fetch(str(tmp_path), "", client.http)

    def test_a_file_that_is_not_there(self, tmp_path: Path, client: Client) -> None:
        for name in ("missing", "missing/below"):
            with pytest.raises(NotFound, match=r"missing.*: No such file"):
                fetch(str(tmp_path / name), "", client.http)
        with pytest.raises(ScoreError, match=r"(?i)file name too long"):
            fetch(str(tmp_path / ("x" * 300)), "", client.http)

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff", "cannot be unpacked"),
            (gzip.compress(UPLOAD.encode())[:-9], "cannot be unpacked"),
            (gzip.compress(b"BAM\1\xff\0\0\0"), "neither UTF-8 nor UTF-16"),
            ("Grün".encode("latin-1"), "neither UTF-8 nor UTF-16"),
            (UPLOAD.encode("utf-16")[:-1], "neither UTF-8 nor UTF-16"),
            (b"\0" * LONGEST_LINE, "too large"),
            (b"A" * LONGEST_LINE * 2 + b"\n", "too large"),
        ],
        ids=["no archive", "a cut archive", "a BAM", "Latin-1", "half a letter", "zeros", "one line"],
    )
    def test_what_is_no_text(self, tmp_path: Path, client: Client, data: bytes, says: str) -> None:
        path = tmp_path / "a.bam"
        path.write_bytes(data)
        with pytest.raises(Invalid, match=rf"a\.bam is .*{says}"):
            parse(fetch(str(path), "", client.http))

    @pytest.mark.parametrize(
        "data",
        [
            gzip.compress(UPLOAD.encode()),
            UPLOAD.encode("utf-16"),
            UPLOAD.encode("utf-16-le"),
            b"\xfe\xff" + UPLOAD.encode("utf-16-be"),
            gzip.compress(UPLOAD.encode("utf-16")),
        ],
        ids=["gzipped", "UTF-16", "UTF-16 without a mark", "UTF-16 of the other end", "both"],
    )
    def test_text_as_other_programs_write_it(self, tmp_path: Path, client: Client, data: bytes) -> None:
        path = tmp_path / "manifest.txt"
        path.write_bytes(data)
        assert list(parse_upload(fetch(str(path), "", client.http)).entries) == [
            UploadEntry(ONE, Path("/data/a.bam"), MD5),
            UploadEntry(TWO, tmp_path / "b.bam", MD5),
        ]

    @pytest.mark.parametrize(
        "text", ['<?xml version="1.0"?><ResultSet/>', "\n <!DOCTYPE html><html>", "\ufeff<html></html>", "<gtoset>"]
    )
    def test_xml_and_html(self, tmp_path: Path, client: Client, text: str) -> None:
        path = tmp_path / "manifest.xml"
        path.write_text(text, "utf-8")
        for read in (parse, parse_upload, parse_download):
            with pytest.raises(Invalid, match="is XML or HTML, not a manifest"):
                read(fetch(str(path), "", client.http))

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("id\tfilename\tmd5\tsize\tstate\n", "no column object_id, but id, filename, md5, size"),
            ('[{"object_id": "x"}]', "is JSON"),
            ("file,md5\na.bam,x\n", "no column object_id"),
        ],
    )
    def test_manifests_of_other_programs(self, text: str, says: str) -> None:
        with pytest.raises(Invalid, match=re.escape(says)):
            parse(source(text))

    def test_a_file_far_too_large(self, tmp_path: Path, client: Client) -> None:
        with (tmp_path / "a.bam").open("wb") as file:
            file.truncate(10**12)
        with pytest.raises(Invalid, match="too large"):
            parse(fetch(str(tmp_path / "a.bam"), "", client.http))

    def test_a_pipe(self, tmp_path: Path, client: Client) -> None:
        """As of a shell's process substitution."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(UPLOAD.encode())
        assert text_of(fetch(f"/dev/fd/{reading}", "", client.http)) == UPLOAD
        os.close(reading)

    def test_a_url(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(200, UPLOAD.encode()), path="/manifest")
        read = fetch(f"{site.url}/manifest?token=secret", "", client.http)
        assert text_of(read) == UPLOAD
        assert read.name == f"{site.url}/manifest"
        assert "authorization" not in site.traffic.seen(path="/manifest")[0].headers

    def test_a_uuid_is_kept_by_the_portal(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(200, UPLOAD.encode()), path=f"/portal/api/v1/manifests/{ONE}")
        assert text_of(fetch(ONE, f"{site.url}/portal", client.http)) == UPLOAD

    def test_a_uuid_without_a_portal(self, client: Client) -> None:
        with pytest.raises(Invalid, match="no portal is known") as caught:
            fetch(ONE, "", client.http)
        assert "portal.url" in caught.value.hint

    def test_a_url_may_lead_to_others(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(302, b"", {"Location": "/second?token=secret"}), path="^/first")
        site.traffic.inject(Answer(307, b"", {"Location": f"{site.url}/third"}), path="^/second")
        site.traffic.inject(Answer(200, UPLOAD.encode()), path="^/third")
        assert parse_upload(fetch(f"{site.url}/first", "", client.http)).analysis_id == ANALYSIS
        assert all("authorization" not in call.headers for call in site.traffic.seen())

    @pytest.mark.parametrize(
        ("url", "target", "says"),
        [
            ("http://{host}/a", "/a", "without end"),
            ("http://{host}/a", "ftp://{host}/a", "not an address"),
            ("http://{host}/a", "file:///etc/passwd", "not an address"),
        ],
    )
    def test_but_not_anywhere(self, client: Client, site: FaultyScore, url: str, target: str, says: str) -> None:
        host = site.url.removeprefix("http://")
        site.traffic.inject(Answer(302, b"", {"Location": target.format(host=host)}), times=None)
        with pytest.raises(ScoreError, match=says):
            fetch(url.format(host=host), "", client.http)

    def test_a_secret_address_does_not_lead_to_an_open_one(self, tmp_path: Path, site: FaultyScore) -> None:
        authority = Authority()
        song = FakeSong()
        song.tls = authority.issue().context(tmp_path)
        (tmp_path / "ca.pem").write_bytes(authority.pem())
        http = Http(1, Timeouts(connect=20, read=20), Tls(str(tmp_path / "ca.pem")).context())
        with song, closing(http):
            song.traffic.inject(Answer(302, b"", {"Location": f"{site.url}/manifest"}))
            with pytest.raises(Refused, match="which is not encrypted"):
                fetch(f"{song.url}/manifest", "", http)
        assert site.traffic.seen() == []

    def test_a_huge_answer_is_not_taken(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(200, b"x" * 100_000), times=None)
        with pytest.raises(Invalid, match="too large"):
            download_manifest(f"{site.url}/manifest", client.http, largest=99_999)
        assert len(download_manifest(f"{site.url}/manifest", client.http, largest=100_000)) == 100_000

    def test_an_answer_without_end_is_given_up(self, make_client: MakeClient, site: FaultyScore) -> None:
        http = make_client(timeouts=Timeouts(connect=20, read=0.2)).http
        site.traffic.hold(path="/manifest")
        with pytest.raises(Unavailable, match="timed out"):
            fetch(f"{site.url}/manifest", "", http)
        site.traffic.heal()
        site.traffic.inject(Answer(200, UPLOAD.encode()))
        with pytest.raises(Unavailable, match="too long to arrive"):
            download_manifest(f"{site.url}/manifest", http, patience=-1)

    def test_what_may_pass_is_asked_again(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(503), path="/manifest")
        site.traffic.inject(Answer(200, UPLOAD.encode()), path="/manifest", times=None)
        assert text_of(fetch(f"{site.url}/manifest", "", client.http, client.engine.persist)) == UPLOAD

    @pytest.mark.parametrize(
        ("answer", "kind", "says"),
        [
            (Answer(404, b"gone"), NotFound, "gone"),
            (Answer(400), Conflict, "400"),
            (Answer(503), Unavailable, "503"),
            (Answer(200, b"<html>Welcome</html>"), Invalid, "XML or HTML"),
            (Answer(200, b"\xff"), Invalid, "neither UTF-8"),
        ],
    )
    def test_a_portal_that_has_none(
        self, client: Client, site: FaultyScore, answer: Answer, kind: type[ScoreError], says: str
    ) -> None:
        site.traffic.inject(answer, times=None)
        with pytest.raises(kind, match=says) as caught:
            parse(fetch(f"{site.url}/manifest?token=secret", "", client.http))
        assert "secret" not in str(caught.value)

    def test_a_portal_says_when_to_come_again(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(503, headers={"Retry-After": "7"}), path="/manifest")
        with pytest.raises(Unavailable) as caught:
            fetch(f"{site.url}/manifest", "", client.http)
        assert caught.value.retry_after == 7


def test_a_relative_path_is_found_from_here_or_from_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From here first, as the reference's client does it."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "both").write_bytes(b"")
    (there / "one").write_bytes(b"")
    monkeypatch.chdir(here)
    lines = [f"5c0eca11-0000-4000-8000-00000000000{i}\t{name}\t{'0' * 32}" for i, name in enumerate(("both", "one"))]
    found = parse_upload(Source.of("\n".join(["a\t\t", *lines]).encode(), "m.txt", there))
    assert [entry.path for entry in found.entries] == [Path("both"), there / "one"]

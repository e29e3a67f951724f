"""``view`` as a command: several inputs, what their outputs are called, and what of them fails."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pysam
import pytest

from score.testing.faults import Flip
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

Run = Callable[..., tuple[int, str, str]]
Put = Callable[..., str]


def reads(path: Path, *places: tuple[str, int]) -> Path:
    """A BAM or CRAM, with its index, with a read of four bases at each place."""
    rows = "".join(f"r{at}\t0\t{contig}\t{at}\t60\t4M\t*\t0\t0\tACGT\tFFFF\n" for contig, at in places)
    sam = path.with_name("made.sam")
    sam.write_text("@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:chr1\tLN:9000\n@SQ\tSN:chr2\tLN:9000\n" + rows)
    options = ["-O", "cram,no_ref=1"] if path.suffix == ".cram" else ["-b"]
    pysam.view("--no-PG", *options, "-o", str(path), str(sam), catch_stdout=False)
    pysam.index(str(path))
    sam.unlink()
    return path


@pytest.fixture
def put(site: FaultyScore, song: FakeSong, tmp_path: Path) -> Put:
    """Makes, registers and stores a file of reads and its index, each in an analysis of its own."""

    def place(number: int, name: str, *places: tuple[str, int]) -> str:
        (tmp_path / "made").mkdir(exist_ok=True)
        path = reads(tmp_path / "made" / name, *places)
        analysis, object_id = str(UUID(int=(1 << 100) + number)), str(UUID(int=(2 << 100) + number))
        song.register(name, analysis=analysis, object_id=object_id)
        site.fake.add(object_id, path.read_bytes())
        suffix = ".crai" if path.suffix == ".cram" else ".bai"
        index = song.register(name + suffix, analysis=analysis)
        site.fake.add(index.object_id, path.with_name(name + suffix).read_bytes())
        return object_id

    return place


@pytest.mark.parametrize("name", ["sample.cram", "sample.bam"])
@pytest.mark.parametrize("more", [(), ("--query", "chr2"), ("--header-only",), ("--output-format", "cram")])
def test_what_succeeds_says_nothing(name: str, more: tuple[str, ...], run: Run, folder: Path, put: Put) -> None:
    one = put(1, name, ("chr1", 5), ("chr2", 5))
    status, out, err = run("view", *ids(one), *more)
    assert (status, err) == (0, "")
    assert out
    local = folder / "made" / name
    status, out, err = run("view", "--input-file", local, *more)
    assert (status, err) == (0, "")


ANALYSIS = "a11aca11-0000-4000-8000-0000000000aa"
VCF = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=100>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    "chr1\t5\t.\tA\tC\t5\tPASS\t.\nchr1\t9\t.\tA\tC\t5\tPASS\t.\n"
)


def test_a_text_needs_no_index_and_fetches_none(run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
    """What GATK writes beside a VCF leads to lines of text, and is none of ours."""
    data, index = (song.register(name, analysis=ANALYSIS) for name in ("calls.vcf", "calls.vcf.idx"))
    site.fake.add(data.object_id, VCF.encode())
    site.fake.add(index.object_id, b"TIDX" + bytes(100))
    status, out, err = run("view", "--object-id", data.object_id, "--query", "chr1:6-20")
    assert (status, out.splitlines()[-1]) == (0, "chr1\t9\t.\tA\tC\t5\tPASS\t."), err
    assert "no index leads into a text" in err
    assert not site.traffic.seen(path=index.object_id)


def test_a_byte_that_turned_on_its_way(run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
    """A text has no checksums of its own."""
    object_id = song.register("calls.vcf", analysis=ANALYSIS).object_id
    site.fake.add(object_id, VCF.encode() + b"".join(b"chr1\t9\t.\tA\tC\t5\tPASS\t.\n" for _ in range(20_000)))
    site.traffic.inject(Flip(200_000), path="/store/", skip=1)
    status, _, err = run("view", "--object-id", object_id, "--output-dir", "out")
    assert status == 8
    assert "calls.vcf: Part 4" in err
    assert not [*(folder / "out").iterdir()]


@pytest.fixture
def unindexed(site: FaultyScore, song: FakeSong, tmp_path: Path) -> str:
    """A stored BAM with two reads, and no index in the registry."""
    song.register("a.bam", analysis=ANALYSIS, object_id=str(UUID(int=7)))
    site.fake.add(str(UUID(int=7)), reads(tmp_path / "a.bam", ("chr1", 5), ("chr2", 5)).read_bytes())
    return str(UUID(int=7))


def rows(text: str) -> list[str]:
    return [line.split("\t")[2] for line in text.splitlines() if line[:1] != "@"]


def test_an_index_that_is_registered_and_not_stored(
    unindexed: str, run: Run, folder: Path, site: FaultyScore, song: FakeSong, tmp_path: Path
) -> None:
    song.register("a.bam.bai", analysis=ANALYSIS)
    words = ("view", "--object-id", unindexed, "--query", "chr2")
    status, out, err = run(*words)
    assert (status, out) == (4, "")
    assert "a.bam has an index in the registry, a.bam.bai, which is not in the store" in err
    status, out, err = run(*words, "--scan")
    assert (status, rows(out)) == (0, ["chr2"])
    assert "a.bam.bai, which is not in the store: all of it is read" in err
    pysam.index("-c", str(tmp_path / "a.bam"))
    song.register("a.bam.csi", analysis=ANALYSIS, object_id=str(UUID(int=8)))
    site.fake.add(str(UUID(int=8)), (tmp_path / "a.bam.csi").read_bytes())
    status, out, err = run(*words)
    assert (status, rows(out), err) == (0, ["chr2"], ""), "the next one is taken"


def test_an_index_that_is_broken(unindexed: str, run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
    song.register("a.bam.bai", analysis=ANALYSIS, object_id=str(UUID(int=8)))
    site.fake.add(str(UUID(int=8)), b"nonsense")
    words = ("view", "--object-id", unindexed, "--query", "chr2")
    status, out, err = run(*words)
    assert (status, out) == (8, "")
    assert "a.bam.bai is no usable index" in err
    status, out, err = run(*words, "--scan")
    assert (status, rows(out)) == (0, ["chr2"])
    assert "a.bam.bai is no usable index" in err
    assert "all of it is read" in err


def written(folder: Path) -> dict[str, int]:
    """The files of a folder, and how many reads are in each."""
    return {
        path.name: sum(line[:1] != "@" for line in path.read_text().splitlines()) for path in sorted(folder.iterdir())
    }


def ids(*objects: str) -> list[str]:
    return [word for one in objects for word in ("--object-id", one)]


@pytest.mark.parametrize("names", [("sample.bam", "sample.bam"), ("sample.bam", "sample.cram")])
def test_inputs_whose_outputs_would_have_one_name(names: tuple[str, str], run: Run, folder: Path, put: Put) -> None:
    one, two = put(1, names[0], ("chr1", 5)), put(2, names[1], ("chr1", 5), ("chr1", 9))
    other = put(3, "other.bam", ("chr1", 5), ("chr1", 9), ("chr1", 11))
    status, _, err = run("view", *ids(one, two, other), "--query", "chr1", "--output-dir", "out")
    assert status == 0, err
    expected = {f"{one}-sample.chr1.sam": 1, f"{two}-sample.chr1.sam": 2, "other.chr1.sam": 3}
    assert written(folder / "out") == expected
    assert all(f"{name}: {count} records" in err for name, count in expected.items())


@pytest.mark.parametrize("given", ["manifest", "ids"])
def test_an_object_that_nobody_knows_does_not_stop_the_others(
    given: str, run: Run, folder: Path, put: Put, site: FaultyScore, song: FakeSong
) -> None:
    one, two, unknown = put(1, "one.bam", ("chr1", 5)), put(2, "two.bam", ("chr1", 5)), str(UUID(int=99))
    song.register("lost.bam", analysis=ANALYSIS, object_id=str(UUID(int=98)))
    wanted = [one, unknown, str(UUID(int=98)), two]
    (folder / "manifest.txt").write_text("object_id\n" + "\n".join(wanted) + "\n")
    words = ids(*wanted) if given == "ids" else ["--manifest", "manifest.txt"]
    status, _, err = run("view", *words, "--query", "chr1", "--output-dir", "out")
    assert status == 3, err
    assert written(folder / "out") == {"one.chr1.sam": 1, "two.chr1.sam": 1}
    for failed in (unknown, str(UUID(int=98))):
        assert [line for line in err.splitlines() if failed in line and "FAILED" in line.upper()], err


def test_a_metadata_service_that_is_away_is_asked_once(run: Run, folder: Path, put: Put, song: FakeSong) -> None:
    one, two = put(1, "one.bam", ("chr1", 5)), put(2, "two.bam", ("chr1", 5))
    settings = folder / "application.properties"
    settings.write_text(settings.read_text().replace(song.url, "http://127.0.0.1:9"))
    status, _, err = run("view", *ids(one, two), "--query", "chr1", "--output-dir", "out")
    assert status == 5
    assert err.count("gave up after") == 1


def test_an_object_that_is_named_twice_is_viewed_once(run: Run, folder: Path, put: Put) -> None:
    one = put(1, "sample.bam", ("chr1", 5))
    status, _, err = run("view", *ids(one, one), "--query", "chr1", "--output-dir", "out")
    assert (status, written(folder / "out")) == (0, {"sample.chr1.sam": 1}), err


def test_regions_whose_files_would_have_one_name(run: Run, folder: Path, put: Put) -> None:
    name = "x" * 118 + ".bam"
    one = put(1, name, ("chr1", 5), ("chr2", 5), ("chr2", 9))
    words = ("--query", "chr1", "chr2", "chr1", "--output-type", "cross", "--output-dir", "out")
    status, _, err = run("view", *ids(one), *words)
    assert status == 0, err
    assert sorted(written(folder / "out").values()) == [1, 2]


def test_a_region_that_is_given_twice_is_one(run: Run, folder: Path, put: Put) -> None:
    one = put(1, "sample.bam", ("chr1", 5))
    words = ("--query", "chr1:1-90", "chr1:1-90", "--output-type", "cross", "--output-dir", "out")
    status, _, err = run("view", *ids(one), *words)
    assert (status, written(folder / "out")) == (0, {"sample.chr1_1-90.sam": 1}), err
    assert err.count(": 1 records") == 1


LOCAL = ("view", "--input-file", "made/sample.bam")


@pytest.fixture
def sample(folder: Path) -> Path:
    """A local BAM with its index beside it."""
    (folder / "made").mkdir()
    return reads(folder / "made" / "sample.bam", ("chr1", 5), ("chr1", 9), ("chr1", 200), ("chr2", 5))


def places(text: str) -> list[tuple[str, int]]:
    cells = [line.split("\t") for line in text.splitlines() if line[:1] != "@"]
    return [(one[2], int(one[3])) for one in cells]


def test_regions_of_a_bed_file(run: Run, sample: Path, folder: Path) -> None:
    """Counted from 0, and the end is not in it."""
    (folder / "panel.bed").write_text("track name=x\n# a comment\n\nchr1\t8\t9\tname\nchr2 0 5\n")
    status, out, err = run(*LOCAL, "--bed-query", "panel.bed")
    assert (status, places(out), err) == (0, [("chr1", 9), ("chr2", 5)], "")
    status, out, err = run(*LOCAL, "--bed-query", "panel.bed", "--output-dir", "out")
    assert written(folder / "out") == {"sample.panel.bed.sam": 2}


def test_a_bed_file_out_of_a_spreadsheet(run: Run, sample: Path, folder: Path) -> None:
    """It begins with a mark, has line ends of Windows, and in names what other systems take for line ends."""
    (folder / "panel.bed").write_bytes("\ufeffchr1\t8\t9\texon\u20281\x0b\r\nchr2\t0\t5\tx\x85\r\n".encode())
    status, out, err = run(*LOCAL, "--bed-query", "panel.bed")
    assert (status, places(out), err) == (0, [("chr1", 9), ("chr2", 5)], "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"chr1\t1\t5\nchr1\t7\n", "panel.bed, line 2: that is no line of a BED file"),
        (b"chr1\t1\tx\n", "panel.bed, line 1: that is no line of a BED file"),
        (b"#\nchr1\t9\t5\n", "panel.bed, line 2: 9 to 5 is no range"),
        (b"chr1\t-1\t5\n", "panel.bed, line 1: -1 to 5 is no range"),
        (b"\xff\xfe\x00", "panel.bed is no BED file: it is not text"),
        (None, "panel.bed: No such file or directory"),
        (b"chr9\t1\t5\n", "has no contig chr9"),
    ],
)
def test_bed_files_that_are_none(content: bytes | None, said: str, run: Run, sample: Path, folder: Path) -> None:
    if content is not None:
        (folder / "panel.bed").write_bytes(content)
    status, out, err = run(*LOCAL, "--bed-query", "panel.bed")
    assert (status, out) == (4 if content is None else 2, "")
    assert said in err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("chr1:1-10,chr2",), ["r5", "r5"]),
        (("chr1:1,000-2,000",), ["r1500"]),
        (("chr1:1,000-2,000,chr1:1-10", "chr2:1-1,000"), ["r5", "r1500", "r5"]),
    ],
)
def test_regions_with_commas_between_them(
    words: tuple[str, ...], found: list[str], run: Run, folder: Path, put: Put
) -> None:
    """As the reference's client takes lists; those within a number are left out of account."""
    one = put(1, "sample.bam", ("chr1", 5), ("chr1", 1500), ("chr2", 5))
    status, out, err = run("view", "--object-id", one, "--query", *words)
    assert status == 0, err
    assert [line.split("\t")[0] for line in out.splitlines() if line[0] != "@"] == found


def test_the_command_in_the_header_can_be_given_again(run: Run, folder: Path, put: Put) -> None:
    one = put(1, "sample.bam", ("chr1", 5), ("chr2", 5))
    words = [
        "view",
        "--object-id",
        one,
        "--query",
        "chr1:1-90",
        "chr2",
        "--contained",
        "--verify-connection",
        "false",
    ]
    status, out, _ = run(*words)
    assert status == 0
    (line,) = [line for line in out.splitlines() if line.startswith("@PG\tID:score")]
    command = shlex.split(line.partition("\tCL:")[2])
    assert sorted(command) == sorted(["score-client", *words])
    assert run(*command[1:]) == (0, out, "")


def test_only_records_within_a_region(run: Run, sample: Path, folder: Path) -> None:
    status, out, _ = run(*LOCAL, "--query", "chr1:1-10", "--contained")
    assert (status, places(out)) == (0, [("chr1", 5)])
    (folder / "panel.bed").write_text("chr1\t0\t12\n")
    status, out, _ = run(*LOCAL, "--bed-query", "panel.bed", "--contained")
    assert (status, places(out)) == (0, [("chr1", 5), ("chr1", 9)])


def test_the_index_that_is_named_is_taken(run: Run, sample: Path, folder: Path) -> None:
    other = reads(folder / "made" / "other.bam", ("chr1", 5))
    sample.with_name("sample.bam.bai").rename(folder / "elsewhere.bai")
    status, out, err = run(*LOCAL, "--query", "chr2", "--input-file-index", "elsewhere.bai")
    assert (status, places(out), err) == (0, [("chr2", 5)], "")
    status, out, err = run(*LOCAL, "--query", "chr2", "--input-file-index", other.with_name("other.bam.bai"))
    assert (status, out) == (8, "")
    assert "and its index do not fit" in err
    status, out, err = run(*LOCAL, "--query", "chr2", "--input-file-index", "nowhere.bai")
    assert (status, out) == (4, "")
    assert "nowhere.bai: No such file" in err


def test_standard_output_is_taken_whatever_the_folder(run: Run, sample: Path, folder: Path) -> None:
    status, out, _ = run(*LOCAL, "--query", "chr2", "--output-dir", "out", "--stdout")
    assert (status, places(out)) == (0, [("chr2", 5)])
    assert not (folder / "out").exists()


ONE = str(UUID(int=1))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give one of --object-id, --input-file and --manifest"),
        (("--object-id", ONE, "--input-file", "x"), "Give one of --object-id, --input-file and --manifest"),
        (("--object-id", ONE, "--manifest", "x"), "Give one of --object-id, --input-file and --manifest"),
        (("--object-id", ONE, "--input-file-index", "x"), "--input-file-index belongs to --input-file"),
        (("--object-id", ONE, "chr1"), "Regions follow --query"),
        (("--object-id", ONE, "--query", "chr1", "--bed-query", "x"), "--query or --bed-query, not both"),
        (("--manifest", "x"), "Several files need --output-dir"),
        (("--object-id", ONE, "--object-id", str(UUID(int=2))), "Several files need --output-dir"),
        (("--object-id", ONE, "--output-type", "cross"), "Several files need --output-dir"),
        (("--manifest", "x", "--output-dir", "out", "--stdout"), "Several files need --output-dir"),
        (("--object-id", ONE, "--output-index"), "--output-index needs --output-dir"),
        (
            ("--object-id", ONE, "--output-index", "--output-dir", "x", "--stdout"),
            "--output-index needs --output-dir",
        ),
        (("--object-id", ONE, "--reference-file", "no.fa"), "--reference-file no.fa: there is no such file"),
        (("--object-id", ONE, "--reference-file", __file__), "is no FASTA file, neither text nor packed by bgzip"),
        (("--object-id", "x"), "is not an object id"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_asked(
    words: tuple[str, ...], said: str, run: Run, folder: Path, site: FaultyScore
) -> None:
    status, out, err = run("view", *words)
    assert (status, out) == (2, "")
    assert said in err
    assert not site.traffic.seen()
    assert not (folder / "out").exists()

"""What is written: formats, headers, indexes, names, and several files made one."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pysam
import pysam.bcftools
import pytest

from score.errors import Conflict, Integrity, Invalid, NoSpace, NotFound, Refused
from score.genomics import formats
from score.genomics.bgzf import EOF, deflate
from score.slicing import indexes
from score.slicing.feed import Feed
from score.slicing.inputs import local
from score.slicing.names import output
from score.slicing.records import Format, Task, copy_reads
from score.slicing.regions import Region
from score.slicing.spans import whole
from score.slicing.variants import copy_variants
from score.slicing.view import Item, OutputType, Request, Written, view, view_merged
from score.testing.privileges import unprivileged
from score.testing.processes import clean_environment, on_small_disk, program

Slice = Callable[..., list[Written]]
REGION = "chr1:1000-90000"


def header_of(path: Path) -> str:
    if path.name.endswith((".vcf.gz", ".bcf")):
        return str(pysam.bcftools.view("-h", "--no-version", str(path)))
    return str(pysam.view("-H", "--no-PG", str(path)))


@pytest.mark.parametrize("kind", ["bam", "cram", "sam"])
@pytest.mark.parametrize("format", ["sam", "bam", "cram"])
def test_reads_in_every_format(kind: str, format: str, files: Any, slice_file: Slice) -> None:
    (found,) = slice_file(files.of(kind), REGION, format=Format(format))
    assert found.path.suffix == f".{format}"
    count = int(pysam.view("-c", "-T", str(files.reference), str(found.path)))
    assert count == found.records == int(pysam.view("-c", str(files.of("bam")), REGION))


@pytest.mark.parametrize(
    ("text", "original"),
    [
        (b"", False),
        (b"", True),
        (b"@HD\tVN:1.6\n@CO\tx\n", False),
        (b"@HD\tVN:1.6\n@SQ\tSN:c2\tLN:2000\tM5:x\n", False),
    ],
)
@pytest.mark.parametrize("format", ["sam", "bam"])
def test_a_bam_whose_text_does_not_name_its_contigs(
    format: str, text: bytes, original: bool, slice_file: Slice, tmp_path: Path
) -> None:
    """Its records refer to the list behind the text; old programs write none into the text."""
    sam = "@SQ\tSN:c1\tLN:1000\n@SQ\tSN:c2\tLN:2000\n"
    sam += "".join(f"r{name}\t0\t{name}\t11\t60\t4M\t*\t0\t0\tACGT\tFFFF\n" for name in ("c1", "c2"))
    (tmp_path / "named.sam").write_text(sam)
    named, bare = tmp_path / "named.bam", tmp_path / "bare.bam"
    pysam.view("-b", "--no-PG", "-o", str(named), str(tmp_path / "named.sam"), catch_stdout=False)
    with pysam.BGZFile(str(named)) as file:
        data = file.read()
    (length,) = struct.unpack_from("<i", data, 4)
    bare.write_bytes(deflate(b"BAM\1" + struct.pack("<i", len(text)) + text + data[8 + length :]) + EOF)
    (found,) = slice_file(bare, "c2", format=Format(format), original_header=original)
    assert found.records == 1
    with pysam.AlignmentFile(str(found.path)) as file:
        assert file.references == ("c1", "c2")
        assert file.lengths == (1000, 2000)
        assert [(read.query_name, read.reference_name) for read in file.fetch(until_eof=True)] == [("rc2", "c2")]
        assert original or str(file.header).startswith(text[:11].decode())


def test_cram_is_written_without_a_reference_too(files: Any, slice_file: Slice) -> None:
    (found,) = slice_file(files.of("bam"), REGION, format=Format.CRAM, reference=None)
    assert int(pysam.view("-c", str(found.path))) == found.records > 0


@pytest.mark.parametrize(("kind", "format"), [("bam", "sam"), ("bam", "bam"), ("tbi", "vcf"), ("tbi", "bcf")])
def test_a_command_of_several_lines_is_one_of_the_header(
    kind: str, format: str, files: Any, slice_file: Slice
) -> None:
    """Names of files may hold what ends a line, or a cell of one."""
    command = "score-client view --bed-query 'a\tSN:b\n@CO\tc\r##x=y'"
    (found,) = slice_file(files.of(kind), "chr2:1-500", command=command, format=Format(format))
    said = " ".join(command.split())
    assert [line for line in header_of(found.path).splitlines() if "@CO c" in line and said in line]
    assert not [line for line in header_of(found.path).splitlines() if line.startswith(("@CO\tc", "##x"))]
    assert found.records > 0


@pytest.mark.parametrize("kind", ["vcf", "tbi", "bcf"])
@pytest.mark.parametrize("format", ["vcf", "bcf"])
def test_variants_in_every_format(kind: str, format: str, files: Any, slice_file: Slice) -> None:
    (found,) = slice_file(files.of(kind), REGION, format=Format(format))
    rows = pysam.bcftools.view("-H", str(found.path)).splitlines()
    assert len(rows) == found.records > 0


@pytest.mark.parametrize(
    ("kind", "format", "suffix"),
    [("bam", "bam", ".bai"), ("bam", "cram", ".crai"), ("tbi", "vcf", ".tbi"), ("tbi", "bcf", ".csi")],
)
def test_an_index_is_written_on_request(
    kind: str, format: str, suffix: str, files: Any, slice_file: Slice, capfd: pytest.CaptureFixture[str]
) -> None:
    (found,) = slice_file(files.of(kind), REGION, format=Format(format), output_index=True)
    assert capfd.readouterr().err == "", "htslib has something to complain of"
    index = found.path.with_name(found.path.name + suffix)
    assert index.stat().st_mtime_ns >= found.path.stat().st_mtime_ns
    (again,) = slice_file(found.path, "chr1:2000-3000", format=Format(format))
    (direct,) = slice_file(files.of(kind), "chr1:2000-3000", format=Format(format))
    assert again.records == direct.records
    names = {path.name for path in found.path.parent.iterdir()}
    assert not [name for name in names if name.startswith(".")]


BARE = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tdonor-1\n"
ROWS = [
    "chr1\t5\t.\tA\tC\t5\tPASS\tDP=7\tGT\t0/1",
    "chr1\t9\trs1\tA\tC,G\t.\tq10;late\tDB;AF=0.5,0.25\tGT:AD\t0/1:3,4",
    "chr2\t7\t.\tAT\tA\t5\t.\t.\tGT\t1|1",
]


@pytest.fixture(params=["plain", "packed"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A VCF whose header declares nothing that its records use, as text, or packed with an index."""
    text, packed = tmp_path / "bare.vcf", tmp_path / "bare.vcf.gz"
    text.write_text(BARE + "\n".join(ROWS) + "\n")
    if request.param == "plain":
        return text
    pysam.tabix_compress(str(text), str(packed))
    pysam.tabix_index(str(packed), preset="vcf")
    return packed


@pytest.mark.parametrize(
    ("queries", "rows"), [((), ROWS), (("chr1",), ROWS[:2]), (("chr2:7",), ROWS[2:]), (("chr1:1-2",), [])]
)
@pytest.mark.parametrize("format", ["vcf", "bcf"])
def test_headers_that_do_not_declare_what_records_use(
    format: str, queries: tuple[str, ...], rows: list[str], bare: Path, slice_file: Slice
) -> None:
    (found,) = slice_file(bare, *queries, format=Format(format), output_index=True)
    assert found.records == len(rows)
    assert pysam.bcftools.view("-H", str(found.path)).splitlines() == rows
    if format == "vcf" and rows == ROWS:
        text = gzip.decompress(found.path.read_bytes()).decode()
        assert [line for line in text.splitlines() if line[0] != "#"] == rows, "word for word"


def test_they_are_merged_all_the_same(bare: Path, tmp_path: Path) -> None:
    found = merged([bare, bare], tmp_path, "chr1", format=Format.VCF)
    assert sorted(pysam.bcftools.view("-H", str(found.path)).splitlines()) == sorted([*ROWS[:2], *ROWS[:2]])


def test_a_contig_that_no_record_of_an_undeclared_one_has(bare: Path, slice_file: Slice, notes: list[str]) -> None:
    with pytest.raises(Invalid, match=r"has no contig 1 \(did you mean chr1"):
        slice_file(bare, "1")
    assert not [*(bare.parent / "out").glob("*")]
    (found,) = slice_file(bare, "1", "chr2", allow_missing=True)
    assert found.records == 1
    assert "has no contig 1 (did you mean chr1" in notes[-1]


def test_texts_of_any_encoding(slice_file: Slice, tmp_path: Path) -> None:
    row = b"chr1\t5\t.\tA\tC\t5\tPASS\tNAME=M\xfcller\n"
    head = b"##fileformat=VCFv4.2\n##source=M\xfcller\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "old.vcf").write_bytes(head + row)
    (found,) = slice_file(tmp_path / "old.vcf")
    written = gzip.decompress(found.path.read_bytes())
    assert written.endswith(b"\n" + row)
    assert b"##source=M\xfcller\n" in written


def write(path: Path, target: Path, format: str) -> None:
    """All of a file, to a place that may not take it."""
    with local(path, None, lambda text: None) as item, Feed(whole(item.file)) as feed:
        task = Task(item.name, target, Format(format))
        copy = copy_variants if task.format.variants else copy_reads
        copy(feed.fd, feed.close, task, lambda: None)


@pytest.mark.parametrize(("kind", "format"), [("bam", "bam"), ("tbi", "vcf"), ("tbi", "bcf")])
def test_places_that_take_nothing(kind: str, format: str, files: Any, tmp_path: Path) -> None:
    """A full disk is told as one, and nothing else is."""
    with pytest.raises(NoSpace, match="No space left"):
        write(files.of(kind), Path("/dev/full"), format)
    with pytest.raises(NotFound, match="No such file"):
        write(files.of(kind), tmp_path / "nowhere" / "x", format)


def view_on_disk(
    path: Path, size: int, script: str, tmp_path: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """``score-client view`` of a file as ``"$@"`` of a script on a disk of ``size`` bytes."""
    (disk := tmp_path / "disk").mkdir()
    view = [program("score-client"), "view", "--input-file", str(path), *options]
    return subprocess.run(
        [*on_small_disk(disk, size), "sh", "-c", script, "sh", *view],
        env=clean_environment(tmp_path, {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("type", ["trimmed", "merged"])
@pytest.mark.parametrize("format", ["sam", "bam", "cram"])
def test_standard_output_on_a_full_disk(files: Any, tmp_path: Path, format: str, type: str) -> None:
    """It is told as one, and nothing else is said."""
    script = 'head -c 100000 /dev/zero > filling 2> /dev/null; exec "$@" > out'
    ended = view_on_disk(files.of("bam"), 65536, script, tmp_path, "--output-format", format, "--output-type", type)
    assert ended.returncode == 10, ended.stderr
    assert ended.stderr.startswith("Error: Standard output: No space left on device.\nFree some space")
    assert ended.stderr.count("\n") == 2


@pytest.mark.needs("mounts")
def test_a_disk_that_has_room_for_slices_and_not_for_what_is_merged_of_them(files: Any, tmp_path: Path) -> None:
    path = files.of("bam")
    options = ("--output-type", "merged", "--output-format", "bam", "--output-dir", ".")
    ended = view_on_disk(
        path, path.stat().st_size * 3 // 2, '"$@"; status=$?; ls -A; exit $status', tmp_path, *options
    )
    assert ended.returncode == 10, ended.stderr
    assert re.search(r"Error: (/\S+/)?\.score-view-\w+: No space left on device\.\nFree some space", ended.stderr)
    assert ended.stdout == ""


@pytest.mark.parametrize("kind", ["bam", "tbi"])
def test_an_index_for_which_there_is_no_room(kind: str, files: Any) -> None:
    """It is not said of the file that it is not sorted."""
    with pytest.raises(NoSpace, match="/dev/full: No space left"):
        indexes.build(files.of(kind), Path("/dev/full"), formats.Format.BAM if kind == "bam" else formats.Format.VCF)


def test_a_folder_that_takes_nothing(files: Any, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir(mode=0o500)
    for type in OutputType:
        request = Request(queries=("chr1",), type=type, output_dir=out)
        with pytest.raises(Refused, match=r"out.*: Permission denied"):
            unprivileged(partial(write_as, files.of("bam"), request))


def write_as(path: Path, request: Request) -> None:
    """What is wanted of a file."""
    if request.type is OutputType.MERGED:
        view_merged([partial(local, path, None, print)], request)
        return
    with local(path, None, print) as item:
        view(item, request, set())


def test_contigs_too_long_for_bai_get_a_csi(slice_file: Slice, tmp_path: Path) -> None:
    sam = tmp_path / "long.sam"
    sam.write_text("@SQ\tSN:long\tLN:900000000\nr\t0\tlong\t800000000\t60\t4M\t*\t0\t0\tACGT\tFFFF\n")
    (found,) = slice_file(sam, format=Format.BAM, output_index=True, reference=None)
    assert found.path.with_name("long.bam.csi").is_file()


def test_the_header_tells_who_wrote_it(files: Any, slice_file: Slice) -> None:
    request = {"command": "score-client view --query chr1", "version": "9.9"}
    (found,) = slice_file(files.of("bam"), "chr1", format=Format.BAM, **request)
    original = header_of(files.of("bam")).splitlines()
    added = [line for line in header_of(found.path).splitlines() if line not in original]
    assert added == ["@PG\tID:score\tPN:score-client\tPP:samtools\tVN:9.9\tCL:score-client view --query chr1"]
    again = found.path.rename(found.path.with_name("again.bam"))
    (twice,) = slice_file(again, format=Format.BAM, **request)
    assert "\n@PG\tID:score.1\tPN:score-client\tPP:score\t" in header_of(twice.path)
    (calls,) = slice_file(files.of("tbi"), "chr1", **request)
    assert "##score-client_viewCommand=score-client view --query chr1; version 9.9\n" in header_of(calls.path)


@pytest.mark.parametrize("kind", ["bam", "tbi", "bcf", "cram", "sam"])
def test_or_is_the_original_word_for_word(kind: str, files: Any, slice_file: Slice) -> None:
    (found,) = slice_file(files.of(kind), header_only=True, original_header=True)
    assert header_of(found.path) == header_of(files.of(kind))
    assert found.records == 0
    assert ".header." in found.path.name


@pytest.mark.parametrize("queries", [(), ("chr1",), ("chr1:50-60",)])
@pytest.mark.parametrize("header_only", [False, True])
def test_a_header_of_variants_is_the_original_byte_for_byte(
    header_only: bool, queries: tuple[str, ...], bare: Path, slice_file: Slice, tmp_path: Path
) -> None:
    """No line is added, moved or worded anew."""
    odd = b"##fileformat=VCFv4.1\n##INFO=<ID=DP, Number=1,Type=Integer,Description=odd>\n##source=a b\n##source=a b\n"
    text = odd + gzip.decompress(bare.read_bytes()) if bare.suffix == ".gz" else odd + bare.read_bytes()
    text = text.replace(b"##fileformat=VCFv4.2\n", b'##FILTER=<ID=q10,Description="low">\n')
    made = tmp_path / "odd" / bare.name
    made.parent.mkdir()
    made.write_bytes(text)
    if bare.suffix == ".gz":
        made = Path(pysam.tabix_index(str(made.rename(made.with_suffix(""))), preset="vcf"))
    (found,) = slice_file(made, *queries, header_only=header_only, original_header=True)
    header = text[: text.index(b"\nchr1") + 1]
    written = gzip.decompress(found.path.read_bytes())
    assert written[: len(header)] == header
    assert written[len(header) :].startswith(b"chr1\t") is bool(found.records)


@pytest.mark.parametrize(
    ("name", "what", "format", "expected"),
    [
        ("sample.bam", ["chr1:1-2"], "bam", "sample.chr1_1-2.bam"),
        ("sample.bam", ["chr1:1-2", "chr2"], "sam", "sample.chr1_1-2__chr2.sam"),
        ("sample.CRAM", ["header"], "cram", "sample.header.cram"),
        ("calls.vcf.gz", ["panel.bed"], "vcf", "calls.panel.bed.vcf.gz"),
        ("calls.vcf.gz", [], "bcf", "calls.bcf"),
        ("a.bam", ["../../x"], "sam", "a..._.._x.sam"),
        ("a.bam", ["c" * 500], "bam", "a." + "c" * 117 + "~.bam"),
    ],
)
def test_names(name: str, what: list[str], format: str, expected: str) -> None:
    assert output(name, what, Format(format)) == expected


def test_cross_writes_a_file_for_each_region(files: Any, slice_file: Slice) -> None:
    found = slice_file(files.of("bam"), "chr1:1-20,000", "chr2", "6:5-", type=OutputType.CROSS)
    assert [one.path.name for one in found] == ["reads.chr1_1-20000.sam", "reads.chr2.sam", "reads.6_5-.sam"]
    together = slice_file(files.of("bam"), "chr1:1-20,000", "chr2", "6:5-")
    assert sum(one.records for one in found) == together[0].records
    bed = (Region("chr1", 0, 20_000), Region("chr2"))
    assert len(slice_file(files.of("bam"), bed=bed, bed_name="x.bed", type=OutputType.CROSS)) == 2


def merged(paths: list[Path], tmp_path: Path, *queries: str, **request: Any) -> Written:
    given = {"output_dir": tmp_path / "out", "type": OutputType.MERGED, "format": Format.BAM} | request
    opens = [partial(local, path, None, lambda text: None) for path in paths]
    return view_merged(opens, Request(queries=queries, **given))


def test_reads_of_several_files_become_one_sorted_file(files: Any, tmp_path: Path) -> None:
    paths = [files.of("bam"), files.of("straddling"), files.of("csi")]
    found = merged(paths, tmp_path, "chr1:1-50000", "chr2", output_index=True)
    assert found.path.name == "merged.chr1_1-50000__chr2.bam"
    assert found.records == 3 * int(pysam.view("-c", "-M", str(files.of("bam")), "chr1:1-50000", "chr2"))
    with pysam.AlignmentFile(str(found.path)) as file:
        places = [(read.reference_id, read.reference_start) for read in file]
    assert places == sorted(places)
    assert len(places) == found.records
    assert found.path.with_name(found.path.name + ".bai").is_file()
    assert {path.name for path in found.path.parent.iterdir()} == {found.path.name, found.path.name + ".bai"}


def test_one_input_is_open_at_a_time(files: Any, tmp_path: Path) -> None:
    """Each holds its index: a merge of a thousand inputs would need the memory of all."""
    opened: list[str] = []

    @contextmanager
    def one() -> Iterator[Item]:
        with local(files.of("bam"), None, lambda text: None) as item:
            opened.append("open")
            yield item
            opened.append("closed")

    request = Request(queries=("chr2",), output_dir=tmp_path, type=OutputType.MERGED, format=Format.BAM)
    view_merged([one] * 3, request)
    assert opened == ["open", "closed"] * 3


def test_variants_of_other_samples_become_columns(make_calls: Callable[[str], Path], tmp_path: Path) -> None:
    paths = [make_calls("donor-7"), make_calls("donor-8")]
    found = merged(paths, tmp_path, "chr1:1-50000", format=Format.VCF)
    with pysam.VariantFile(str(found.path)) as file:
        assert [*file.header.samples] == ["donor-7", "donor-8"]
        assert sum(1 for _ in file) > 500


def test_variants_of_the_same_samples_become_one_list(files: Any, tmp_path: Path) -> None:
    found = merged([files.of("tbi"), files.of("bcf")], tmp_path, "chr2:1-20000", format=Format.BCF)
    expected = pysam.bcftools.view("-H", "-r", "chr2:1-20000", str(files.of("tbi"))).splitlines()
    rows = pysam.bcftools.view("-H", str(found.path)).splitlines()
    assert len(rows) == found.records == 2 * len(expected)


def test_what_does_not_go_together(files: Any, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be merged: one holds reads, the other variants"):
        merged([files.of("bam"), files.of("tbi")], tmp_path, "chr1:1-5", format=None)


def test_files_are_replaced_whole_or_not_at_all(files: Any, slice_file: Slice, tmp_path: Path) -> None:
    (before,) = slice_file(files.of("bam"), "chr2", format=Format.BAM)
    data = before.path.read_bytes()
    broken = tmp_path / "reads.bam"
    broken.write_bytes(files.of("bam").read_bytes()[:-3000])
    with pytest.raises(Integrity, match="do not fit"):
        slice_file(broken, "chr2", format=Format.BAM, index=files.of("bam").with_name("reads.bam.bai"))
    assert before.path.read_bytes() == data


def test_samples_that_are_in_some_files_only(files: Any, make_calls: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="cannot be merged"):
        merged([files.of("tbi"), make_calls("donor-1")], tmp_path, "chr1:1-5000", format=Format.VCF)
    assert list((tmp_path / "out").iterdir()) == []

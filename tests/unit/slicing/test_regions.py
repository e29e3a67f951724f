"""Words for regions, and lines of BED files."""

from __future__ import annotations

import pytest

from score.slicing.regions import Region, parse, read_bed


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("c:1.001k-8.2m", 1000, 8_200_000),
        ("c:1.009K-1.009g", 1008, 1_009_000_000),
        ("c:2,500-2.5015k", 2499, 2501),
        ("c:1.9-2", 0, 2),
    ],
)
def test_fractions_of_thousands_and_more_are_exact(text: str, begin: int, end: int) -> None:
    assert parse(text, ["c"]) == Region("c", begin, end)


def test_contigs_whose_names_begin_as_other_lines_of_a_bed_file_do() -> None:
    text = "browser position c\ntrack name=x\ntrack\n#c\t1\t2\n\ntrack7\t5\t9\nbrowserless\t1\t2\nc 3 4\n"
    assert read_bed(text, "x.bed") == [Region("track7", 5, 9), Region("browserless", 1, 2), Region("c", 3, 4)]

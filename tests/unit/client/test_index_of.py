"""Which file is the index of another one. Protocol, section 6."""

from __future__ import annotations

import pytest

from score.client.client import Client
from score.testing.song import FakeSong

ANALYSIS = "a11aca11-0000-4000-8000-0000000000aa"


@pytest.mark.parametrize(
    ("name", "others", "index"),
    [
        ("a.bam", ["a.bam.bai", "b.bam.bai"], "a.bam.bai"),
        ("A.bam", ["a.BAM.BAI"], "a.BAM.BAI"),
        ("a.bam", ["a.bam.csi"], "a.bam.csi"),
        ("a.bam", ["a.bam.csi", "a.bam.bai"], "a.bam.bai"),
        ("a.cram", ["a.cram.crai"], "a.cram.crai"),
        ("a.vcf.gz", ["a.vcf.gz.idx", "a.vcf.gz.csi", "a.vcf.gz.tbi"], "a.vcf.gz.tbi"),
        ("a.vcf.gz", ["a.vcf.gz.idx"], "a.vcf.gz.idx"),
        ("a.bcf", ["a.bcf.csi"], "a.bcf.csi"),
        ("a.bam", ["a.bai", "b.bam.bai"], None),
    ],
)
def test_the_index_of_a_file(name: str, others: list[str], index: str | None, client: Client, song: FakeSong) -> None:
    data = song.register(name, analysis=ANALYSIS)
    for other in others:
        song.register(other, analysis=ANALYSIS)
    found = client.catalog.index_of(client.catalog.entity(data.object_id))
    assert (found.file_name if found else None) == index


def test_all_indexes_of_a_file_in_their_order(client: Client, song: FakeSong) -> None:
    data = song.register("a.vcf.gz", analysis=ANALYSIS)
    for name in ("a.vcf.gz.idx", "A.vcf.gz.CSI", "b.vcf.gz.tbi", "a.vcf.gz.tbi"):
        song.register(name, analysis=ANALYSIS)
    found = client.catalog.indexes_of(client.catalog.entity(data.object_id))
    assert [one.file_name for one in found] == ["a.vcf.gz.tbi", "A.vcf.gz.CSI", "a.vcf.gz.idx"]

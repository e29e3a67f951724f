"""Bytes for htslib, through a pipe."""

from __future__ import annotations

import io

import pysam
import pytest

from score.errors import Unavailable
from score.slicing.feed import piped

from .conftest import Files


@pytest.mark.parametrize("kind", ["sam", "bam", "cram"])
def test_pysam_reads_a_file_of_python(files: Files, kind: str) -> None:
    path = files.of(kind)
    reference = str(files.reference)
    with (
        open(path, "rb") as file,
        piped(file) as feed,
        pysam.AlignmentFile(feed, reference_filename=reference) as reads,
    ):
        names = [(read.query_name, read.reference_start) for read in reads]
    with pysam.AlignmentFile(str(path), reference_filename=reference) as reads:
        assert names == [(read.query_name, read.reference_start) for read in reads.fetch(until_eof=True)]


@pytest.mark.parametrize("kind", ["vcf", "bcf"])
def test_pysam_reads_variants_of_python(files: Files, kind: str) -> None:
    path = files.of(kind)
    with open(path, "rb") as file, piped(file) as feed, pysam.VariantFile(feed) as variants:
        places = [(record.chrom, record.pos) for record in variants]
    with pysam.VariantFile(str(path)) as variants:
        assert places == [(record.chrom, record.pos) for record in variants]


def test_what_reading_raises_is_raised_where_the_feed_is_left(files: Files) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise Unavailable("The store is away.")
            return super().read(60_000)

    broken = Broken(files.of("bam").read_bytes())
    with (
        pytest.raises(Unavailable, match="away"),
        piped(broken) as feed,
        pysam.AlignmentFile(feed) as reads,
    ):
        list(reads)

"""The page on htsget: its commands, one after another, on a real server, with the real programs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from score.auth.embedded import KeyFile
from score.testing import genomics
from score.testing.genomics import reads_of, variants_of
from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.secrecy import secret
from score.testing.site import Server

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "htsget.md").read_text("utf-8")
PRINTED = "http://localhost:8087"
REGION = ("chr1", 100_000, 100_100)


def blocks(language: str) -> list[str]:
    """The code blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(script: str, folder: Path, url: str, **more: str) -> str:
    """Run commands of the page; what they write."""
    return follow(script.replace(PRINTED, url), folder, clean_environment(folder, {}) | more, shell="bash")


@pytest.mark.needs("samtools", "bcftools", "htsget")
def test_the_page_from_its_beginning(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    bam, vcf = genomics.write_bam(cohort / "sample.bam"), genomics.write_vcf(cohort / "calls.vcf.gz")
    server = Server(tmp_path / "server", {"spring.profiles.active": "local"})
    try:
        server.start()
        commands = blocks("sh")
        with_token = next(one for one in commands if "HTS_AUTH_LOCATION" in one)
        commands.remove(with_token)
        said = run("\n".join([*commands, 'echo "ids $BAM $VCF"']), tmp_path, server.url)
        header, counts = "@SQ\tSN:chr1", re.findall(r"^\d+$", said, re.MULTILINE)
        assert header in said
        assert counts == ["6500", str(genomics.UNPLACED)]
        for line in reads_of(bam, REGION) + [one.rstrip("\n") for one in variants_of(vcf, ("chr2", 5000, 9000))]:
            assert line in said
        found = [line.split("\t")[0] for line in (tmp_path / "reads.sam").read_text().splitlines()]
        assert found == [line.split("\t")[0] for line in reads_of(bam, REGION)]
        assert found
        ticket = json.loads((tmp_path / "ticket.json").read_text())
        assert ticket["htsget"]["format"] == "BAM"
        assert reads_of(tmp_path / "part.bam", REGION) == reads_of(bam, REGION)
        assert '"artifact":"htsget"' in said
        (program,) = blocks("python")
        (identity,) = re.findall(r"ids (\S+) \S+$", said, re.MULTILINE)
        code = f"import sys; sys.argv = ['', '{server.url}/htsget/reads/{identity}']\n{program}"
        assert int(run(f"python - <<'END'\n{code}\nEND", tmp_path, server.url)) >= len(found)
    finally:
        server.stop()


@pytest.mark.needs("samtools", "htsget")
def test_the_page_with_a_token(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with_token = next(one for one in blocks("sh") if "HTS_AUTH_LOCATION" in one)
    setup = next(one for one in blocks("sh") if "score-client register" in one)
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    bam = genomics.write_bam(cohort / "sample.bam")
    keys = KeyFile(folder / "keys.sqlite3")
    key = secret(keys.create("somebody", ["score.READ", "score.WRITE"]))
    keys.close()
    server = Server(
        folder,
        {
            "spring.profiles.active": "local,secure",
            "auth.server.provider": "embedded",
            "auth.embedded.file": str(folder / "keys.sqlite3"),
        },
    )
    (printed,) = re.findall(r"`HTS_ALLOW_UNENCRYPTED_AUTHORIZATION_HEADER=\"(.*?)\"`", PAGE)
    try:
        server.start()
        said = run(
            f"{setup}\n{with_token}",
            tmp_path,
            server.url,
            ACCESSTOKEN=key,
            HTS_ALLOW_UNENCRYPTED_AUTHORIZATION_HEADER=printed,
        )
        assert said.split() == ["6500"]
        assert (tmp_path / "whole.bam").read_bytes() == bam.read_bytes()
        assert os.stat(tmp_path / "token").st_mode & 0o077 == 0
    finally:
        server.stop()


def test_the_tables_name_what_there_is() -> None:
    """Parameters, errors and suffixes of the page are those of the code."""
    from score.broker.htsget.query import IN_DOCUMENT, IN_QUERY
    from score.genomics.formats import INDEX_SUFFIXES
    from score.server.problems import HTSGET_ERRORS, HTSGET_NAMES

    for name in {*IN_QUERY, *IN_DOCUMENT, *HTSGET_NAMES.values(), *HTSGET_ERRORS.values()} - {"InternalServerError"}:
        assert f"`{name}`" in PAGE, name
    for suffixes in INDEX_SUFFIXES.values():
        assert all(suffix in PAGE for suffix in suffixes)

"""The page on mounts: its commands run, one after another."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pysam
import pytest

from score.mount import fuse
from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.site import local_site

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "mount.md").read_text("utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.needs("fuse", "samtools")
def test_the_commands_run(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    dice = random.Random(3)
    lines = ["@HD\tVN:1.6\tSO:coordinate", "@SQ\tSN:chr1\tLN:30000"]
    for at in range(1, 29_000, 40):
        bases = "".join(dice.choices("ACGT", k=100))
        lines.append(f"r{at}\t0\tchr1\t{at}\t60\t100M\t*\t0\t0\t{bases}\t{'F' * 100}")
    (here / "sam").write_text("\n".join(lines) + "\n")
    pysam.view("-b", "-o", str(here / "sample.bam"), str(here / "sam"), catch_stdout=False)
    pysam.index(str(here / "sample.bam"))
    (here / "calls.vcf.gz").write_bytes(random.randbytes(100_000))
    names = ("sample.bam", "sample.bam.bai", "calls.vcf.gz")
    with local_site(tmp_path / "site") as site:
        files = site.register([here / name for name in names])
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        for name in names[1:]:
            (here / name).unlink()
        environment = clean_environment(tmp_path, {"storage.url": site.url, "metadata.url": site.registry_url})
        environment |= {"ANALYSIS": files.analysis, "BAM": files.id if len(files.ids) == 1 else files.ids[0]}
        commands = [code for code in COMMANDS if "pip install" not in code]
        try:
            said = follow("\n".join(commands), here, environment, shell="bash").splitlines()
        finally:
            fuse.unmount(here / "data")
    assert said == ["252", f"data/{files.analysis}/sample.bam", "sample.bam", "sample.bam.bai"]
    assert (here / "calls.vcf.gz").stat().st_size == 100_000


def test_what_it_says_is_what_the_page_says(tmp_path: Path) -> None:
    source = Path(fuse.__file__).read_text("utf-8")
    head, *rows = re.findall(r"^\| ([^|`]+?) \|", PAGE.partition("## When it does not mount")[2], re.MULTILINE)
    assert head == "it says"
    assert rows
    for said in rows:
        assert said.replace("/dev/fuse", "{device}") in source, said

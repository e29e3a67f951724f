"""The page on fsspec: its examples run in an environment that has pandas, pyarrow and Dask; xarray reads too."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from score.testing.components import find
from score.testing.processes import clean_environment
from score.testing.site import local_site

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "fsspec.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MAKE = """
import numpy, pandas, pysam, xarray
frame = pandas.DataFrame({"place": range(100_000), "depth": numpy.random.default_rng(1).integers(0, 60, 100_000)})
frame.to_csv("depth.csv", index=False)
frame.to_parquet("depth.parquet", row_group_size=10_000)
xarray.Dataset({"depth": ("place", frame["depth"].to_numpy())}).to_netcdf("depth.nc", engine="h5netcdf")
with pysam.AlignmentFile("reads.bam", "wb", reference_names=["chr1"], reference_lengths=[100_000]) as file:
    for number in range(50_000):
        read = pysam.AlignedSegment(file.header)
        read.query_name, read.query_sequence, read.flag = f"read{number}", "ACGT" * 25, 4 if number % 5 == 0 else 0
        if not read.flag:
            read.reference_id, read.reference_start, read.cigarstring = 0, number, "100M"
        file.write(read)
"""
MORE = """
import pickle
import pyarrow.dataset, pyarrow.fs, pyarrow.parquet, xarray
there = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
table = pyarrow.dataset.dataset(f"{ANALYSIS}/depth.parquet", filesystem=there).to_table(columns=["depth"])
assert table["depth"].to_pylist() == frame["depth"].to_list()
with fs.open(f"{ANALYSIS}/depth.parquet") as file:
    assert pyarrow.parquet.ParquetFile(file).num_row_groups == 10
with fs.open(f"{ANALYSIS}/depth.nc") as file, xarray.open_dataset(file, engine="h5netcdf") as data:
    assert int(data["depth"].isel(place=slice(500, 600)).sum()) == int(frame["depth"][500:600].sum())
chunks = dask.dataframe.read_csv(f"score://{ANALYSIS}/depth.csv", blocksize=100_000)
assert chunks.npartitions > 5
assert len(chunks) == len(frame)
"""


@pytest.mark.needs("dask")
def test_the_examples_run(tmp_path: Path) -> None:
    program = find("dask")
    assert program is not None
    python = str(program.resolve().parent / "python")
    here = tmp_path / "here"
    here.mkdir()

    def run(code: str, environment: dict[str, str]) -> str:
        script = here / "script.py"
        body = "\n".join(f"    {line}" for line in code.splitlines())
        script.write_text(f"if __name__ == '__main__':\n{body}\n")
        done = subprocess.run(
            [python, str(script)], cwd=here, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with local_site(tmp_path / "site") as site:
        settings = {"storage.url": site.url, "metadata.url": site.registry_url}
        environment = clean_environment(tmp_path, settings)
        # What is installed here (the SDK and its libraries) is found behind the tables' own libraries.
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), sysconfig.get_path("purelib")])
        run(MAKE, environment)
        files = site.register([here / name for name in ("depth.csv", "depth.parquet", "depth.nc", "reads.bam")])
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        values = {"OBJECT_ID": files.ids[0], "STUDY": files.study, "ANALYSIS": files.analysis}
        values["BAM_ID"] = files.ids[3]
        prelude = "\n".join(f"{name} = {value!r}" for name, value in values.items())
        said = run("\n".join([prelude, *EXAMPLES, MORE]), environment)
    assert f"{files.study}/{files.analysis}/depth.csv" in said
    assert "40000 reads are mapped" in said
    assert "[b'place,', b'epth\\n']" in said

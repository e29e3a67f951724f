"""``make bench``: the figures, next to other programs on the same store, written to benchmarks/results/.

Everything runs on loopback and in a temporary folder, which is removed. With ``--quick`` or ``--only`` the results
are printed but not written, unless ``--output`` says where.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import authorization  # noqa: F401 - registers its figures
import browsing  # noqa: F401 - registers its figure
import fleet  # noqa: F401 - registers its figures
import mounting  # noqa: F401 - registers its figures
import report
import service  # noqa: F401 - registers its figures
import signing  # noqa: F401
import slicing  # noqa: F401
import transfers  # noqa: F401
from figures import FIGURES, Findings
from lab import FULL, QUICK, laboratory
from measure import Failed

from score._version import __version__

RESULTS = Path(__file__).with_name("results")


def main() -> int:
    """Measure, and write the results. Exit status 1 where a goal is missed or a program failed."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller files and fewer rounds, for a first look")
    parser.add_argument("--only", action="append", choices=FIGURES, metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--rounds", type=int, help="rounds to measure")
    parser.add_argument("--folder", type=Path, help="where to put temporary files; about 10 GB are needed")
    parser.add_argument("--output", type=Path, help="folder for the results")
    asked = parser.parse_args()
    if asked.folder:
        tempfile.tempdir = str(asked.folder.resolve())
    scale = QUICK if asked.quick else FULL
    if asked.rounds:
        scale = replace(scale, rounds=asked.rounds)
    found: dict[str, Findings] = {}
    with laboratory(scale) as lab:
        surroundings = report.machine(lab.folder)
        programs = {"score": __version__, **lab.rivals.versions()}
        for name in asked.only or FIGURES:
            print(f"{name}: {(FIGURES[name].__doc__ or '').splitlines()[0]}", flush=True)
            try:
                found[name] = FIGURES[name](lab)
            except Failed as error:  # the others are worth as much without it
                print(f"    Not measured: {error}", flush=True)
                found[name] = Findings(failed=str(error).splitlines()[0])
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    told = day, scale, surroundings, programs, found
    print("\n" + report.page(*told))
    output = asked.output or (None if asked.quick or asked.only else RESULTS)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / f"{day}.md").write_text(report.page(*told))
        (output / f"{day}.json").write_text(report.data(*told))
        print(f"Written to {output / day}.md and .json")
    met = all(goal.met for findings in found.values() for goal in findings.goals)
    return 0 if met and not any(findings.failed for findings in found.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

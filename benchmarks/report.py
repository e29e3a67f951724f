"""The results, as a page for readers and as data."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median

from figures import MIB, Findings, Table
from lab import Scale
from measure import ratio

METHOD = """\
Every program runs as a real process on one machine, with its own defaults, against servers on loopback whose data
lie on the same disk; so client, server and store share the processors. Contenders take turns, each round beginning
with another one; a first round warms up and does not count. `sync` runs in between, and after hundreds of files
are removed six seconds pass, since ext4 goes on looking at those for five. Nothing is dropped from the page cache:
files are read from memory, so the figures show what the programs cost, not what a disk or a network can do. Ratios
are medians of the ratios of each round; times are medians, with the lowest and the highest. CPU is user and system
time, memory the highest peak of resident memory, of the program and its children. The programs that talk to S3
know nothing of the local store; there our time stands next to theirs on MinIO."""


def machine(folder: Path) -> dict[str, str]:
    """What the figures were measured on; no names of hosts."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{pages / 1024**3:.0f} GiB",
        "file system": file_system(folder),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on."""
    found = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind = line.split()[:3]
        if folder.resolve().is_relative_to(place) and len(place) >= len(found[0]):
            found = place, kind
    return found[1]


def page(
    day: str,
    scale: Scale,
    surroundings: Mapping[str, str],
    programs: Mapping[str, str],
    all_of: Mapping[str, Findings],
) -> str:
    """The results in Markdown."""
    lines = [f"# Figures of {day}", "", *(f"- {name}: {text}" for name, text in {**surroundings, **programs}.items())]
    lines += [f"- {scale.rounds} rounds", "", "## Goals", "", *rows("what", "measured", "at most", "met")]
    for findings in all_of.values():
        for goal in findings.goals:
            lines += rows(goal.what, goal.measured, goal.bound, "yes" if goal.met else "**no**")[:1]
    failed = [f"- {name}: {findings.failed}" for name, findings in all_of.items() if findings.failed]
    lines += ["", "## Not measured", "", *failed] if failed else []
    for findings in all_of.values():
        for table in findings.tables:
            lines += ["", f"## {table.title}", "", *compare(table)]
    return "\n".join([*lines, "", "## How it was measured", "", METHOD, ""])


def rows(*cells: str) -> list[str]:
    """A line of a table, and the line below it where it is the head."""
    return [f"| {' | '.join(cells)} |", f"|{'---|' * len(cells)}"]


def compare(table: Table) -> Iterator[str]:
    """A comparison as a table."""
    head = ["", "time", f"× {table.base}", "CPU", "peak memory"]
    yield from rows(*head, *(["rate"] if table.size else []))
    base = table.series[table.base]
    for name, series in table.series.items():
        walls = series.walls
        cells = [
            name,
            f"{median(walls):.2f} s ({min(walls):.2f}–{max(walls):.2f})",
            f"{ratio(walls, base.walls):.2f}",
            f"{median(series.cpus):.2f} s",
            f"{series.peak / MIB:.0f} MiB",
        ]
        if table.size:
            cells.append(f"{table.size / MIB / median(walls):,.0f} MiB/s")
        yield rows(*cells)[0]


def data(
    day: str,
    scale: Scale,
    surroundings: Mapping[str, str],
    programs: Mapping[str, str],
    all_of: Mapping[str, Findings],
) -> str:
    """The results in JSON, with every single measurement."""
    found = {
        name: {
            "goals": [{**asdict(goal), "met": goal.met} for goal in findings.goals],
            "tables": [asdict(table) for table in findings.tables],
            "seconds": findings.raw,
        }
        for name, findings in all_of.items()
    }
    document = {"day": day, "scale": asdict(scale), "machine": surroundings, "programs": programs, "figures": found}
    return json.dumps(document, indent=1) + "\n"

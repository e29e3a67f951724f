"""Many tasks of one job array against one server: each call is made once for each object, none comes in a storm."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from score.testing.faults import Answer, Traffic
from score.testing.site import Registered, Site, md5_of

TASKS = 4
FILES = 3
"""Of each task."""

Maker = Callable[[str, int], Path]
pytestmark = pytest.mark.parametrize("site", ["local"], indirect=True)
ID = r"[0-9a-f-]{36}"


def calls(traffic: Traffic) -> Counter[tuple[str, str]]:
    """How often each call was made for each thing: the path, without what differs between parts of one object."""
    return Counter((seen.method, seen.path) for seen in traffic.seen() if not seen.path.startswith("/store/"))


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    """Small files of one analysis."""
    return site.register([make_file(f"{number}.txt", 1000 + number) for number in range(TASKS * FILES)])


def shares(files: Registered, folder: Path) -> list[Path]:
    """A manifest for each task."""
    header, *lines = files.manifest.read_text().splitlines()
    made = []
    for task in range(TASKS):
        made.append(folder / f"task-{task}.txt")
        made[-1].write_text("\n".join([header, *lines[task::TASKS]]) + "\n")
    return made


def test_each_call_is_made_once(site: Site, files: Registered, tmp_path: Path) -> None:
    site.score.forget()
    with ExitStack() as stack:
        tasks = [stack.enter_context(site.start("upload", "--manifest", share)) for share in shares(files, tmp_path)]
        for task in tasks:
            task.conclude()
    made = calls(site.score)
    assert made["GET", "/profile"] == TASKS
    for one in files.ids:
        assert made["POST", f"/upload/{one}/begin"] == 1
        assert made["POST", f"/upload/{one}/parts"] == 1
        assert sum(count for (_, path), count in made.items() if path.startswith(f"/upload/{one}")) == 2
    assert sum(count for (_, path), count in made.items() if re.search(ID, path)) <= len(files.ids) * 5

    site.publish(files)
    site.score.forget()
    out = tmp_path / "out"
    with ExitStack() as stack:
        tasks = [
            stack.enter_context(site.start("download", "--object-id", *files.ids[task::TASKS], "--output-dir", out))
            for task in range(TASKS)
        ]
        for task in tasks:
            task.conclude()
    made = calls(site.score)
    assert made["GET", "/entities"] <= TASKS  # the index files of the analysis, once for each task
    for one in files.ids:
        assert made["GET", f"/download/{one}"] == 1
        assert made["GET", f"/entities/{one}"] <= 1
    assert {path.name: md5_of(path) for path in out.iterdir()} == {p.name: md5_of(p) for p in files.paths}


def test_a_server_that_is_busy_is_asked_again_by_each_once(site: Site, files: Registered, tmp_path: Path) -> None:
    """All are told the same Retry-After. How far apart they come back is tested where it is decided (retry)."""
    site.score.inject(Answer.unavailable(1), method="GET", path="^/profile$", times=TASKS)
    with ExitStack() as stack:
        tasks = [stack.enter_context(site.start("upload", "--manifest", share)) for share in shares(files, tmp_path)]
        said = [task.conclude().stderr for task in tasks]
    assert all("503" in text for text in said)
    assert calls(site.score)["GET", "/profile"] == 2 * TASKS
    site.publish(files)

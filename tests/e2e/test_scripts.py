"""What sites script: exit statuses, records, reports, shares of a job array, repair; real processes and stores."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from score.cli import exits
from score.protocol.parts import MIB
from score.testing.clients import Result
from score.testing.faults import Answer
from score.testing.processes import on_small_disk
from score.testing.site import Registered, Site

PART = 5 * MIB
MakeFile = Callable[[str, int], Path]


@pytest.fixture
def published(site: Site, make_file: MakeFile) -> Registered:
    """Three files of an analysis, in the store and published."""
    files = site.register([make_file(f"{number}.bam", number * PART + 1000) for number in range(3)])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    site.heal()
    return files


def records(result: Result) -> list[dict[str, object]]:
    """The documents on standard output."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def analysed(files: Registered) -> tuple[str, ...]:
    """The options that name the analysis."""
    return "--analysis-id", files.analysis, "--study-id", files.study


def test_an_analysis_and_a_folder_are_all_that_an_upload_needs(site: Site, make_file: MakeFile) -> None:
    paths = [make_file("run 1/a.bam", PART + 1), make_file("b.bam", 10)]
    files = site.register(paths)
    folder = paths[1].parent
    rehearsed = site.run("upload", *analysed(files), "--dir", folder, "--dry-run")
    assert "2 files: 2 would move; nothing was moved." in rehearsed.stderr
    assert not any(site.has_object(identity) for identity in files.ids)
    site.run("upload", *analysed(files), "--dir", folder)
    site.publish(files)


def test_the_tasks_of_a_job_array_share_an_analysis(site: Site, published: Registered, tmp_path: Path) -> None:
    words = ("download", *analysed(published), "--output-dir", tmp_path / "out", "--json")
    tasks = [
        site.start(*words, "--shard", f"{number}/3", "--report", tmp_path / f"{number}.tsv") for number in (1, 2, 3)
    ]
    ended = [task.conclude() for task in tasks]
    done = [one["object_id"] for result in ended for one in records(result) if one["record"] == "object"]
    assert sorted(map(str, done)) == sorted(published.ids)
    for path in published.paths:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    lines = [line for number in (1, 2, 3) for line in (tmp_path / f"{number}.tsv").read_text().splitlines()[1:]]
    assert sorted(line.split("\t")[0] for line in lines) == sorted(published.ids)


def test_only_the_damaged_range_is_fetched_again(site: Site, published: Registered, tmp_path: Path) -> None:
    words = ("--output-dir", tmp_path / "out", *analysed(published))
    site.run("download", *words)
    site.run("verify", *words)
    victim = tmp_path / "out" / published.paths[2].name
    with victim.open("r+b") as file:
        file.seek(PART + 17)
        file.write(b"damaged by a bad cable")
    told = site.run("verify", *words, "--json", status=exits.SOME_FAILED)
    assert [one["state"] for one in records(told) if one["record"] == "object"].count("failed") == 1
    site.store.forget()
    site.run("verify", *words, "--repair")
    assert [call.range for call in site.fetched(published.ids[2])] == [f"bytes={PART}-{2 * PART - 1}"]
    assert victim.read_bytes() == published.paths[2].read_bytes()


def test_check_finds_all_well(site: Site) -> None:
    told = site.run("check")
    assert "WRONG" not in told.stdout
    assert {line.split()[1] for line in told.stdout.splitlines()} >= {"server:", "metadata:", "store:", "disk:"}


@pytest.mark.parametrize("site", ["local"], indirect=True)
class TestExitStatuses:
    """Every status of the table, of a real process."""

    def test_0_and_9(self, site: Site, published: Registered, tmp_path: Path) -> None:
        words = ("download", *analysed(published), "--output-dir", tmp_path / "out", "--error-on-no-transfer")
        site.run(*words, status=exits.OK)
        site.run(*words, status=exits.NOTHING_TO_DO)

    def test_2(self, site: Site, tmp_path: Path) -> None:
        site.run("download", "--output-dir", tmp_path, status=exits.USAGE)

    def test_3_and_4(self, site: Site, published: Registered, tmp_path: Path) -> None:
        words = ("download", "--output-dir", tmp_path / "out", "--object-id", str(uuid.uuid4()))
        site.run(*words, status=exits.NOT_FOUND)
        site.run(*words, published.ids[0], status=exits.SOME_FAILED)

    def test_5(self, site: Site, published: Registered, tmp_path: Path) -> None:
        words = ("download", "--output-dir", tmp_path / "out", "--object-id", published.ids[0])
        site.server.kill()
        site.run(*words, "--retries", "1", status=exits.TEMPORARY)

    @pytest.mark.parametrize(("refusal", "status"), [(401, exits.UNAUTHENTICATED), (403, exits.FORBIDDEN)])
    def test_6_and_7(self, site: Site, published: Registered, tmp_path: Path, refusal: int, status: int) -> None:
        words = ("download", "--output-dir", tmp_path / "out", "--object-id", published.ids[0])
        site.score.inject(Answer(refusal, b'{"message":"No."}'), path="^/download/[0-9a-f]", times=None)
        site.run(*words, status=status)

    def test_8(self, site: Site, make_file: MakeFile) -> None:
        files = site.register([make_file("a.bam", 100)], fileMd5sum="0" * 32)
        site.run(
            "upload", "--object-id", files.id, "--file", files.paths[0], "--md5", "0" * 32, status=exits.INTEGRITY
        )

    @pytest.mark.needs("mounts")
    def test_10(self, site: Site, published: Registered, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        words = ("download", "--output-dir", disk, "--object-id", published.ids[2])
        with site.start(*words, prefix=on_small_disk(disk, PART)) as client:
            client.conclude(exits.NO_SPACE)

    def test_130(self, site: Site, published: Registered, tmp_path: Path) -> None:
        words = ("download", "--output-dir", tmp_path / "out", "--object-id", published.ids[2], "--json")
        gate = site.store.hold(method="GET", path=site.path_of(published.ids[2]))
        with site.start(*words) as client:
            gate.wait_for_arrival()
            client.interrupt()
            assert records(client.conclude(exits.INTERRUPTED))[-1]["exit"] == exits.INTERRUPTED
        site.heal()
        site.run(*words)

    def test_1(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Which nothing asks for: a library that is not as it was installed."""
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "msgspec.py").write_text("raise LookupError('within')\n")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        words = ("url", "--object-id", str(uuid.uuid4()))
        with site.start(*words, prefix=["env", "-u", "SCORE_DEBUG"]) as client:
            told = client.conclude(exits.INTERNAL).stderr
        assert "a defect of this program: LookupError" in told
        assert "SCORE_DEBUG=1" in told
        assert "Traceback" not in told
        with site.start(*words) as client:  # with SCORE_DEBUG=1, as all programs of the tests
            assert client.wait() == exits.INTERNAL
            assert "Traceback" in client.stderr


def test_there_are_no_others() -> None:
    assert exits.MEANINGS.keys() == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130}

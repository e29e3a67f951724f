"""``check``: what it finds, and which remedy it names."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from score.client.check import Check, suggested
from score.client.client import Client
from score.client.settings import Settings
from score.testing.faults import Answer
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.secrecy import secret
from score.testing.song import FakeSong
from score.transfer.retry import Patience

Run = Callable[..., tuple[int, str, str]]


def jwt(**claims: object) -> str:
    """A token of that form; nobody signed it."""

    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return secret(f"{part({'alg': 'RS256'})}.{part(claims)}.{part('signature')}")


def lines(out: str) -> dict[str, str]:
    """The lines by the name of their check."""
    return {line[7:].partition(":")[0]: line for line in out.splitlines()}


def guarded(site: FaultyScore, answer: Answer) -> None:
    """Uploads are tested for, first without a token, then with it."""
    site.traffic.inject(Answer(401), path="^/upload/test/")
    site.traffic.inject(answer, path="^/upload/test/", times=None)


def test_all_is_well(run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
    guarded(site, Answer(200, b"Upload Test Operation executed"))
    status, out, err = run("check")
    assert (status, err) == (0, "")
    found = lines(out)
    assert found.keys() == {"server", "clock", "metadata", "token", "store", "disk", "parallel"}
    assert all(line.startswith(("ok ", "note ")) for line in found.values())
    assert f"server: {site.url} answers in" in found["server"]
    assert "an API key; the server accepts it; uploads of every study are allowed" in found["token"]
    assert f"store: {site.url}/store/heliograph gave 0 bytes" in found["store"]
    assert re.search(
        r"disk: \. takes [1-9][\d,]* MiB/s, [\d,]+\.\d GiB free; MD5 is computed at [1-9][\d,]* MiB/s", found["disk"]
    )
    assert re.search(r"parallel: transport\.parallel is 6[,;]", found["parallel"])
    assert "secret0" not in out
    assert not list(folder.glob("tmp*"))
    assert site.traffic.seen(method="POST") == site.traffic.seen(method="PUT") == []


def test_a_server_without_access_control(run: Run, folder: Path, site: FaultyScore) -> None:
    assert "the server asks for none, and does not look at the one set" in lines(run("check")[1])["token"]


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (Answer(401), 6, "WRONG  token: an API key; the server does not accept it. Mend it: fetch a new token"),
        (
            Answer(404),
            0,
            "ok     token: an API key; the server accepts it; whether uploads are allowed is the study's",
        ),
        (
            Answer(403, b'{"message":"It needs score.WRITE; this token has score.READ."}'),
            0,
            "note   token: an API key; it is good, but for no upload: ",
        ),
    ],
)
def test_what_the_server_says_of_the_token(
    run: Run, folder: Path, site: FaultyScore, answer: Answer, status: int, says: str
) -> None:
    guarded(site, answer)
    found, out, _ = run("check")
    assert found == status
    assert lines(out)["token"].startswith(says)
    if answer.status == 403:
        assert "this token has score.READ" in out


def test_no_token(run: Run, folder: Path, site: FaultyScore) -> None:
    guarded(site, Answer(401))
    status, out, _ = run("check", "--accessToken=")
    assert status == 0
    assert "none is set; only open files can be downloaded. Mend it: set ACCESSTOKEN." in lines(out)["token"]


def test_what_a_jwt_says_of_itself(run: Run, folder: Path, site: FaultyScore) -> None:
    guarded(site, Answer(200))
    token = jwt(exp=int(time.time()) + 3600, context={"scope": ["score.READ", "song.WRITE"]})
    line = lines(run("check", f"--accessToken={token}")[1])["token"]
    assert "a JWT, good until 2" in line
    assert "scopes score.READ, song.WRITE" in line
    status, out, _ = run("check", f"--accessToken={jwt(exp=1000)}")
    assert status == 0, "without access control nobody looks at it"
    site.traffic.heal()
    guarded(site, Answer(401))
    status, out, _ = run("check", f"--accessToken={jwt(exp=1000)}")
    assert status == 6
    assert "WRONG  token: the JWT ended at 1970-01-01 00:16 UTC." in lines(out)["token"]


@pytest.mark.parametrize("token", ["a.b.c", "..", "a.!!!.c", jwt(exp="never"), jwt(exp=-1), jwt(context=[1])])
def test_odd_tokens(run: Run, folder: Path, site: FaultyScore, token: str) -> None:
    guarded(site, Answer(200))
    assert (
        "a JWT; the server accepts it"
        in lines(run("check", f"--accessToken={secret(token.ljust(12, 'x'))}")[1])["token"]
    )


def test_nobody_answers(run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
    site.traffic.inject(Answer(503), path="^/profile", times=None)
    song.traffic.inject(Answer(503), times=None)
    site.traffic.inject(Answer.denied(), path="^/store/", times=None)
    status, out, _ = run("check")
    assert status == 5
    found = lines(out)
    assert found["server"].startswith("WRONG  server: ")
    assert "Mend it: check storage.url (STORAGE_URL)" in found["server"]
    assert "Mend it: check metadata.url (METADATA_URL)" in found["metadata"]
    assert found["store"].startswith("WRONG  store: ")
    assert "Mend it: check the network and the proxy" in found["store"]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_disk_is_that_of_the_folder(run: Run, folder: Path) -> None:
    """Of the one that is named, though nothing can be written here; the figures are possible ones."""
    there = folder.parent / f"{folder.name}-there"
    there.mkdir(mode=0o777)
    before = sorted(folder.rglob("*"))
    folder.chmod(0o555)
    try:
        status, out, _ = unprivileged(lambda: run("check", "--output-dir", there))
    finally:
        folder.chmod(0o755)
    assert status == 0, out
    told = re.fullmatch(
        r"ok     disk: (.+) takes ([\d,]+) MiB/s, ([\d,.]+) GiB free; MD5 is computed at ([\d,]+) MiB/s a core\.",
        lines(out)["disk"],
    )
    assert told is not None, out
    assert told[1] == str(there)
    assert 1 <= number(told[2]) < 1_000_000
    assert 1 <= number(told[4]) < 100_000
    assert 0.2 <= number(told[3]) <= shutil.disk_usage(there).total / 1024**3 + 0.1
    assert list(there.iterdir()) == []
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_cannot_be_written_to(run: Run, folder: Path) -> None:
    (folder / "shut").mkdir(mode=0o555)
    status, out, _ = unprivileged(lambda: run("check", "--output-dir", "shut"))
    assert status == 3
    line = lines(out)["disk"]
    assert line.startswith("WRONG  disk: shut: Permission denied. Mend it: ")
    assert line.endswith("who may read and write there.")
    assert list((folder / "shut").iterdir()) == []


def test_a_file_in_the_place_of_the_folder(run: Run, folder: Path) -> None:
    (folder / "file").write_bytes(b"precious")
    status, out, _ = run("check", "--output-dir", "file")
    assert status == 4
    assert "WRONG  disk: file: Not a directory. Mend it: name another --output-dir." in out
    assert (folder / "file").read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the size of files so")
def test_a_disk_that_takes_no_more_is_left_as_it_was(folder: Path) -> None:
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY)); "
        "from score.cli.main import main; main(['check'])"
    )
    before = sorted(folder.iterdir())
    ended = subprocess.run(
        [sys.executable, "-c", limited], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 3, ended.stderr
    assert "WRONG  disk: .: File too large. Mend it: " in ended.stdout
    assert "MD5 is computed" not in ended.stdout, "no figure of what was not measured"
    assert sorted(folder.iterdir()) == before


def test_the_parallelism_that_is_suggested_can_be_set(run: Run, folder: Path) -> None:
    status, out, _ = run("check", "--transport.parallel=1")
    assert status == 0
    told = re.fullmatch(
        r"note   parallel: transport\.parallel is 1; (\d+) parts at once may be faster from here\. "
        r"Mend it: --transport\.parallel=(\d+)",
        lines(out)["parallel"],
    )
    assert told is not None, out
    assert told[1] == told[2]
    assert suggested(os.cpu_count() or 1, 0.0) <= int(told[1]) <= 32
    status, out, _ = run("check", "--transport.parallel=32")
    assert lines(out)["parallel"] == "ok     parallel: transport.parallel is 32, which suits this machine."
    assert run("config", f"--transport.parallel={told[2]}")[0] == 0


def test_a_folder_that_is_not_there(run: Run, folder: Path) -> None:
    status, out, _ = run("check", "--output-dir", "missing")
    assert status == 4
    assert "WRONG  disk: missing: No such file or directory. Mend it: name another --output-dir." in out


@pytest.mark.parametrize(("minutes", "word"), [(90, "ahead of"), (-90, "behind")])
def test_a_clock_that_is_wrong(tmp_path: Path, site: FaultyScore, song: FakeSong, minutes: int, word: str) -> None:
    settings = Settings(site.url, song.url, patience=Patience(1))
    with Client(settings) as client:
        check = Check(client, tmp_path, lambda: datetime.now(UTC) + timedelta(minutes=minutes))
        (found,) = [finding for finding in check.run() if finding.name == "clock"]
    assert word in found.text
    assert found.error is not None
    assert found.remedy == "timedatectl set-ntp true"


def test_for_programs(run: Run, folder: Path) -> None:
    status, out, _ = run("check", "--json", "--output-dir", "missing")
    assert status == 4
    *found, end = [json.loads(line) for line in out.splitlines()]
    assert {one["name"]: one["ok"] for one in found}["disk"] is False
    assert all(one["record"] == "check" and one["v"] == 1 for one in found)
    assert end["exit"] == 4


@pytest.mark.parametrize(
    ("cores", "latency", "parts"), [(1, 0.0, 4), (2, 0.001, 4), (8, 0.001, 16), (2, 0.1, 14), (64, 0.3, 32)]
)
def test_the_rule_of_thumb(cores: int, latency: float, parts: int) -> None:
    assert suggested(cores, latency) == parts

"""The page on deployment: its six commands lead to a site, and what lies in ``deploy/`` is what it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import urllib3

from score.testing.components import find
from score.testing.pages import blocks_of, with_programs
from score.testing.processes import Program, clean_environment, free_port
from score.testing.song import FakeSong

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deployment.md"


@pytest.mark.needs("minio")
def test_six_commands_lead_to_a_site(tmp_path: Path, song: FakeSong) -> None:
    """From a copy of the sources, with a Song, on free ports."""
    (block,) = [block for block in blocks_of(PAGE) if block.section == "A site in six commands"]
    commands = block.text.strip().splitlines()
    assert len(commands) == 6
    sources = tmp_path / "sources"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if name.startswith(("src/", "deploy/", "requirements/", "tools/")) or "/" not in name:
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).symlink_to(ROOT / name)
    store, port = f"localhost:{free_port()}", free_port()
    commands[4] += f" && sed -i 's|localhost:9000|{store}|; s|http://song:8080|{song.url}|' .env.score"
    script = "\n".join(["set -eu", *commands[:-1], *commands[-1].split("; ")]).replace(
        "localhost:9000 &", f"{store} &"
    )
    environment = with_programs(clean_environment(tmp_path)) | {"SERVER_PORT": str(port)}
    wait = f"until curl -fsS http://{store}/minio/health/live; do sleep 0.1; done\n"
    script = script.replace("venv/bin/score-server check", wait + "venv/bin/score-server check")
    script = script.replace("minio server", "exec minio server").replace(
        f"{store} &", f"{store} & echo $! > minio.pid"
    )
    script += "\n"
    program = Program(["sh", "-c", f"cd {sources} && {{\n{script}}}"], tmp_path, environment)
    try:
        program.wait_until(lambda: "URL:" in program.stdout, timeout=180)
        health = urllib3.request("GET", f"http://127.0.0.1:{port}/health").json()
        assert health["status"] == "UP", health
    finally:
        os.killpg(program.pid, 15)
        program.wait()


@pytest.mark.needs("systemd-analyze")
def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    """With a program where the unit looks for it."""
    text = (ROOT / "deploy" / "systemd" / "score.service").read_text()
    unit = tmp_path / "score.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=.*", "ExecStart=/bin/true", text))
    command = [str(find("systemd-analyze")), "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "score.service" in line]
    assert said == []

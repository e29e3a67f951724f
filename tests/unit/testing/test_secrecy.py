"""The plugin that looks for secrets in all output finds them wherever they come out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import logging, subprocess, sys, threading
from pathlib import Path
import pytest
from score.errors import Invalid
from score.server.settings import Settings
from score.testing.processes import Program, clean_environment
from score.testing.secrecy import secret

KEY = secret("a-key-that-nobody-may-see")
SIGNATURE = "X-Amz-Signature=" + "0a" * 32


def test_bad_stdout():
    print(KEY)

def test_bad_stderr_at_setup(shown):
    pass

@pytest.fixture
def shown():
    print("x", KEY, file=sys.stderr)

def test_bad_log():
    logging.getLogger("score.x").warning("token %s", KEY)

def test_bad_log_of_a_thread():
    thread = threading.Thread(target=logging.getLogger("score.x").error, args=(f"at /x?a=b&{SIGNATURE}",))
    thread.start()
    thread.join()

def test_bad_traceback():
    try:
        raise ValueError(KEY)
    except ValueError:
        logging.getLogger("score.x").exception("a defect")

def test_bad_error():
    with pytest.raises(Invalid):
        raise Invalid("That is wrong.", hint=f"It was {KEY}.")

def test_bad_read_output(capsys):
    print(KEY)
    assert capsys.readouterr().out

def test_bad_setting():
    Settings.model_validate({"s3.secretKey": "the key of a store"})
    print("s3.secretKey=the key of a store")

@pytest.mark.parametrize("query", ["&sig=abcdef%2B", "?signature=00aa11", "?X-Amz-Security-Token=abcdefg"])
def test_bad_signature(query):
    print("GET http://store/x" + query, file=sys.stderr)

def test_bad_program(tmp_path):
    environment = clean_environment(tmp_path, {"accessToken": "a token of a client"})
    command = "import os; print(os.environ['ACCESSTOKEN'])"
    with Program([sys.executable, "-c", command], tmp_path, environment) as program:
        program.wait()

def test_bad_finished_program(tmp_path):
    script = tmp_path / "score-client"
    script.write_text(f"#!/bin/sh\\necho {KEY} >&2\\n")
    script.chmod(0o755)
    subprocess.run([str(script)], capture_output=True)

def test_good():
    print("nothing to see: sig=... signature= Signature=...", KEY[:10])
    logging.getLogger("score.x").warning("nothing")
    assert Invalid("nothing").hint == ""

def test_good_url_that_was_asked_for(capsys):
    print(f"http://store/x?{SIGNATURE}")
    assert capsys.readouterr().out
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    options = ["-q", "-rA", "-p", "score.testing.secrecy_plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "."]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1, run.stdout + run.stderr
    return run.stdout.splitlines()


def test_whatever_shows_a_secret_fails(lines: list[str]) -> None:
    results = [line for line in lines if line.startswith(("PASSED ", "FAILED ", "ERROR ")) and "::" in line]
    bad = {line.split()[1].partition("::")[2] for line in results if line.startswith(("FAILED", "ERROR"))}
    passed = {line.split()[1].partition("::")[2] for line in results if line.startswith("PASSED")}
    wanted = {name for name in SUITE.split() if name.startswith("test_")}
    names = {name.partition("(")[0] for name in wanted}
    assert {name for name in names if name.startswith("test_good")} <= passed - bad
    assert {name for name in names if name.startswith("test_bad")} == {one.partition("[")[0] for one in bad}


def test_what_is_said_of_it_shows_nothing(lines: list[str]) -> None:
    said = [line for line in lines if "Secrets were seen" in line or "of this test run" in line]
    assert said
    assert not any("nobody-may-see" in line for line in said)


def test_signatures_are_told_from_placeholders() -> None:
    from score.testing.faults import blank
    from score.testing.secrecy import SIGNED

    for query in (f"X-Amz-Signature={'0' * 64}", f"a=b&sig={'x' * 20}", f"expires=1&signature={'a' * 64}"):
        assert SIGNED.search(f"http://store/x?{query}")
        assert not SIGNED.search(f"http://store/x?{blank(query)}")
    assert Path(__file__).exists()

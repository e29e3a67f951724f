"""Completion of bash, zsh and fish, and what help and completion load."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from score.cli.main import _COMMANDS, cli
from score.cli.options import LAYOUTS
from score.client.layout import Layout
from score.testing.components import find
from score.testing.processes import clean_environment, program

Run = Callable[..., tuple[int, str, str]]
HEAVY = {
    "pydantic",
    "msgspec",
    "urllib3",
    "rich",
    "ssl",
    "asyncio",
    "aiohttp",
    "cryptography",
    "score.client",
    "score.transfer",
}


def ask(words: str, shell: str = "bash") -> list[str]:
    """What a shell is offered for a command line whose last word is being typed."""
    variables: Mapping[str, str] = {
        "_SCORE_CLIENT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    ended = subprocess.run(
        [program("score-client")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout.splitlines()


def test_commands() -> None:
    assert ask("score-client ") == [f"plain,{name}" for name in _COMMANDS]
    assert ask("score-client ver") == ["plain,verify", "plain,version"]
    assert "plain" in ask("score-client ver", "zsh")[0]
    for option in ("--version", "--help"):
        assert ask(f"score-client {option} ver") == ["plain,verify", "plain,version"]


def test_options_and_their_values() -> None:
    options = ask("score-client download --o")
    assert "plain,--output-dir" in options
    assert "plain,--object-id" in options
    assert ask("score-client download --output-layout ") == [f"plain,{layout}" for layout in LAYOUTS]
    assert ask("score-client upload --manifest ") == ["file,"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts(run: Run, shell: str) -> None:
    status, out, err = run("completion", shell)
    assert (status, err) == (0, "")
    assert f"_SCORE_CLIENT_COMPLETE={shell}_complete" in out


def test_a_real_bash_completes(run: Run, tmp_path: Path) -> None:
    """bash calls the function that the script defines, and finds the words in COMPREPLY."""
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "script").write_text(run("completion", "bash")[1])
    code = (
        f'export PATH="{Path(program("score-client")).parent}:$PATH"; source ./script; '
        "COMP_WORDS=(score-client man); COMP_CWORD=1; "
        'complete -p score-client | grep -q -- "-F _score_client_completion score-client" && '
        '_score_client_completion score-client man; echo "${COMPREPLY[@]}"'
    )
    ended = subprocess.run([bash, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["manifest"]


@pytest.mark.needs("fish")
def test_a_real_fish_completes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(run("completion", "fish")[1])
    code = (
        'source script; complete --do-complete "score-client man"; complete --do-complete "score-client upload --man"'
    )
    ended = subprocess.run(
        [str(find("fish")), "-c", code], cwd=tmp_path, env=with_client(tmp_path),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in ended.stdout.splitlines()] == ["manifest", "--manifest"]


@pytest.mark.needs("zsh")
def test_a_real_zsh_completes(run: Run, tmp_path: Path) -> None:
    """In a terminal of its own: a Tab makes the word whole."""
    (tmp_path / "script").write_text(run("completion", "zsh")[1])
    (tmp_path / "typed").write_text(
        "zmodload zsh/zpty\nzpty terminal zsh -f -i\n"
        "zpty -w terminal 'autoload -Uz compinit; compinit -u -D; source ./script; echo LOA''DED'\n"
        "zpty -r terminal said '*LOADED*'\n"
        "zpty -w -n terminal $'score-client man\\t'\n"
        "zpty -r terminal said '*score-client man*ifest*'\nprint -r -- $said\nzpty -d terminal\n"
    )
    ended = subprocess.run(
        [str(find("zsh")), "-f", "typed"], cwd=tmp_path, env=with_client(tmp_path),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "manifest" in ended.stdout


def with_client(home: Path) -> dict[str, str]:
    """An environment in which shells find the client, and none of this user's own settings."""
    return clean_environment(home) | {"PATH": f"{Path(program('score-client')).parent}:{os.environ['PATH']}"}


def test_the_list_of_commands_is_true() -> None:
    context = cli.make_context("score-client", ["version"], obj={"settings": []})
    for name, (_, says) in _COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert says.endswith(".")


def test_layouts_are_those_of_the_sdk() -> None:
    assert sorted(layout.value for layout in Layout) == sorted(LAYOUTS)
    assert LAYOUTS[0] == Layout.FILENAME


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--help"], {}),
        (["help"], {}),
        (["version"], {}),
        (["download", "--help"], {}),
        (["help", "verify"], {}),
        ([], {"_SCORE_CLIENT_COMPLETE": "zsh_complete", "COMP_WORDS": "score-client ", "COMP_CWORD": "1"}),
        ([], {"_SCORE_CLIENT_COMPLETE": "bash_complete", "COMP_WORDS": "score-client upload --", "COMP_CWORD": "2"}),
    ],
)
def test_help_and_completion_load_next_to_nothing(words: list[str], variables: dict[str, str]) -> None:
    code = (
        "import sys\nfrom score.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not set(ended.stderr.split()) & HEAVY

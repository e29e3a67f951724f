"""What the program loads before it does anything."""

from __future__ import annotations

import subprocess
import sys

import pytest


class TestStart:
    @pytest.mark.parametrize("words", [["version"], ["--version"], ["help"], ["--help"]])
    def test_small_commands_load_next_to_nothing(self, words: list[str]) -> None:
        code = (
            "import sys\nfrom score.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
            "    print(*sorted({name.split('.')[0] for name in sys.modules} | set(sys.modules)), file=sys.stderr)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=True
        )
        loaded = set(ended.stderr.split())
        heavy = {
            "pydantic",
            "msgspec",
            "urllib3",
            "aiohttp",
            "fastapi",
            "botocore",
            "rich",
            "cryptography",
            "asyncio",
            "ssl",
        }
        if words != ["help"] and words != ["--help"]:
            assert not loaded & (heavy | {"score.client", "score.transfer", "score.config"})
        assert not loaded & {"aiohttp", "fastapi", "botocore", "score.server", "score.broker", "score.storage"}

    def test_no_command_loads_the_server(self) -> None:
        code = (
            "import sys, score.cli.transfers, score.cli.registry, score.client.client\n"
            "print(*sorted(name for name in sys.modules))"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        loaded = set(ended.stdout.split())
        server = {"aiohttp", "fastapi", "starlette", "uvicorn", "botocore", "boto3", "jwt", "cryptography"}
        own = {f"score.{name}" for name in ("server", "broker", "storage", "metadata", "auth", "testing")}
        assert not loaded & (server | own)

    def test_importing_the_package_costs_nothing(self) -> None:
        code = "import sys, score\nprint(*sorted(name for name in sys.modules if name.startswith('score')))"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        assert set(ended.stdout.split()) - {"score._build"} == {"score", "score._version"}

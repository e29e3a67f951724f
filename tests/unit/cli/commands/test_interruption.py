"""Signals in the middle of a transfer."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from score.testing.score import FaultyScore

from ..conftest import CLIENT, DATA, OBJECT


class TestInterruption:
    def test_again_and_again_it_ends_without_a_word_about_the_program(
        self, folder: Path, site: FaultyScore, registered: None
    ) -> None:
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
        words = [*CLIENT, "download", "--object-id", OBJECT, "--output-dir", "out"]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as client:
            gate.wait_for_arrival()
            while client.poll() is None:
                client.send_signal(signal.SIGINT)
            assert client.stderr is not None
            assert "Traceback" not in client.stderr.read()
        assert client.returncode == 130

    @pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("command", ["upload", "download"])
    def test_it_ends_at_once_and_says_how_to_go_on(
        self, folder: Path, site: FaultyScore, registered: None, command: str, kind: signal.Signals
    ) -> None:
        if command == "upload":
            site.fake.objects.clear()
            (folder / "a.bam").write_bytes(DATA)
            words = ["upload", "--object-id", OBJECT, "--file", "a.bam"]
            gate = site.traffic.hold(method="PUT", skip=2)
        else:
            words = ["download", "--object-id", OBJECT, "--output-dir", "out"]
            gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
        with subprocess.Popen([*CLIENT, *words], cwd=folder, stderr=subprocess.PIPE, text=True) as client:
            gate.wait_for_arrival()
            client.send_signal(kind)
            assert client.stderr is not None
            said = client.stderr.read()
            assert client.wait(60) == 130
        assert "Run the same command again to go on from there." in said
        assert "Traceback" not in said
        site.traffic.heal()
        again = subprocess.run(
            [*CLIENT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert again.returncode == 0, again.stderr

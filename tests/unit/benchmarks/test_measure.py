"""The harness of the benchmarks: what it measures is of the program, and a program that fails is no figure."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
MIB = 1024 * 1024


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("measure")


def test_memory_is_that_of_the_program(measure: ModuleType, tmp_path: Path) -> None:
    """Not that of the harness, which is larger than the smaller program; and of its children."""
    large = b"x" * (300 * MIB)
    small = measure.run([sys.executable, "-c", "pass"], os.environ, tmp_path)
    grown = measure.run(["sh", "-c", f"{sys.executable} -c 'b\"x\" * {100 * MIB}'; true"], os.environ, tmp_path)
    assert len(large) > small.peak
    assert small.peak < 60 * MIB
    assert 100 * MIB < grown.peak < 200 * MIB


def test_a_failure_is_no_figure(measure: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(measure.Failed, match=r"status 3:\nlast words"):
        measure.run(["sh", "-c", "echo last words; exit 3"], os.environ, tmp_path)


def test_contenders_take_turns(measure: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """One round warms up; every round begins with another contender; ratios are taken within a round."""
    order: list[str] = []

    def contender(name: str, factor: float) -> measure.Usage:  # type: ignore[name-defined]
        order.append(name)
        return measure.Usage(factor * len(order), 1.0, 1)

    found = measure.contest({"a": lambda: contender("a", 1.0), "b": lambda: contender("b", 2.0)}, 2)
    assert "".join(order) == "abbaab"
    assert found["a"].walls == [4.0, 5.0]
    assert found["b"].walls == [6.0, 12.0]
    assert measure.ratio(found["a"].walls, found["b"].walls) == pytest.approx((4 / 6 + 5 / 12) / 2)
    assert "warm-up" in capsys.readouterr().out


def test_the_page_of_results(monkeypatch: pytest.MonkeyPatch, measure: ModuleType, tmp_path: Path) -> None:
    report, figures, lab = (importlib.import_module(name) for name in ("report", "figures", "lab"))
    series = {
        "ours": measure.Series((measure.Usage(2.0, 1.0, 30 * MIB),)),
        "theirs": measure.Series((measure.Usage(4.0, 1.0, 1),)),
    }
    findings = figures.Findings(
        [
            figures.Goal("slow", "3 s", 3.0, 2.0, "2 s"),
            figures.Goal("quick", "1 s", 1.0, 2.0, "2 s"),
        ],
        [figures.Table("A comparison", series, "theirs", 100 * MIB)],
    )
    page = report.page("2026-01-01", lab.QUICK, report.machine(tmp_path), {"score": "1"}, {"x": findings})
    assert "| slow | 3 s | 2 s | **no** |" in page
    assert "| quick | 1 s | 2 s | yes |" in page
    assert "| ours | 2.00 s (2.00–2.00) | 0.50 | 1.00 s | 30 MiB | 50 MiB/s |" in page
    assert os.uname().nodename not in page

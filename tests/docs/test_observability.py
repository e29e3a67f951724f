"""docs/observability.md and deploy/observability: every metric and every alert exists, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from score.auth.embedded import KeyFile
from score.testing.components import find
from score.testing.pages import blocks_of
from score.testing.secured import secured_site

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "observability.md"
TEXT = PAGE.read_text("utf-8")
DEPLOYED = ROOT / "deploy" / "observability"
ALERTS = yaml.safe_load((DEPLOYED / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOYED / "dashboard.json").read_text("utf-8"))
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
METRIC = re.compile(r"\b(?:score|process)_\w+")


def rows(section: str, columns: int) -> list[list[str]]:
    """The cells of the table in a section of the page."""
    text = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells
    assert {len(row) for row in cells} == {columns}
    return cells


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a server says after some calls."""
    folder = tmp_path_factory.mktemp("site")
    with closing(KeyFile(folder / "keys.sqlite3")) as keys, secured_site(folder / "data", keys) as site:
        site.populate()
        site.call("GET", "/nowhere")
        site.call("GET", "/metrics")
        while b"\nscore_uploads_open " not in (answer := site.call("GET", "/metrics")).data:
            pass
        yield answer.data.decode()


@pytest.fixture(scope="module")
def labels(scrape: str) -> dict[str, set[str]]:
    """The labels of each metric, by the name of its family or of its samples, without the limits of a histogram."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.setdefault(name, set())
        for sample in family.samples:
            for one in {name, sample.name}:
                found.setdefault(one, set()).update(set(sample.labels) - {"le"})
    return found


def test_the_table_has_every_metric_with_its_labels(labels: dict[str, set[str]]) -> None:
    told = {name.strip("`"): set(re.findall(r"`(\w+)`", given)) for name, given, _ in rows("Metrics", 3)}
    assert told.pop("score_backend_retries_total") == {"backend"}, "of stores and registries elsewhere"
    known = {name for name in labels if not name.endswith(("_bucket", "_sum", "_count"))}
    assert set(told) == known - {"score_backend_retries_total"}
    assert told == {name: labels[name] for name in told}


def expressions() -> list[str]:
    return [*(rule["expr"] for rule in ALERTS), *(target["expr"] for target in TARGETS)]


def test_queries_are_about_metrics_and_labels_that_there_are(labels: dict[str, set[str]]) -> None:
    of_retries = {"score_backend_retries_total": {"backend"}}
    assert len(expressions()) > 25
    for query in expressions():
        named = METRIC.findall(query)
        assert set(named) <= labels.keys(), query
        if "process_" not in query and "up{" not in query:
            assert named, query
        for name, chosen in re.findall(r"\b((?:score|process)_\w+)\{([^}]*(?:\{\w+\}[^}]*)*)\}", query):
            about = set(re.findall(r"(\w+)\s*[=!]~?\"", chosen)) - {"job", "instance", "le"}
            assert about <= (labels | of_retries)[name], query


def test_every_alert_is_told_of_and_tested() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert [row[0].strip("`") for row in rows("Alerts", 3)] == names
    tests: list[dict[str, Any]] = yaml.safe_load((DEPLOYED / "alerts.test.yml").read_text("utf-8"))["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert fired == set(names)


def promtool(*words: str, given: str = "", folder: Path = DEPLOYED) -> str:
    done = subprocess.run(
        [str(find("promtool")), *words],
        cwd=folder, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.needs("promtool")
def test_prometheus_takes_configuration_and_alerts() -> None:
    (block,) = blocks_of(DEPLOYED / "README.md")
    said = "".join(promtool(*shlex.split(line)[1:]) for line in block.text.splitlines())
    assert f"{len(ALERTS)} rules found" in said
    assert said.count("SUCCESS") >= 3


@pytest.mark.needs("promtool")
def test_prometheus_takes_what_a_server_says(scrape: str) -> None:
    assert promtool("check", "metrics", given=scrape) == ""


@pytest.mark.needs("promtool")
def test_queries_of_the_dashboard_are_queries(tmp_path: Path) -> None:
    """Each becomes a rule, since rules can be checked without a server."""
    queries = [target["expr"].replace("$job", ".*").replace("$instance", ".*") for target in TARGETS]
    rules = [{"record": f"dashboard:query{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", "rules.yml", folder=tmp_path)


def test_the_dashboard_has_a_place_for_each_panel() -> None:
    """No two panels lie on each other, none has the number of another, and nothing leads to another host."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert "http" not in json.dumps([panel.get("links") for panel in panels])

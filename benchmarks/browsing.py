"""The figures of the page: how soon a browser shows it, what it loads, and how fast its own MD5 is."""

from __future__ import annotations

from statistics import median

from figures import Findings, Goal, figure
from lab import Lab

from score.server.page import assets
from score.testing.browser import chromium, opened

PAINT = """() => new Promise((resolve) => {
  const seen = (list) => list.getEntriesByName("first-paint").slice(0, 1).forEach((one) => resolve(one.startTime));
  new PerformanceObserver(seen).observe({ type: "paint", buffered: true });
})"""
"""Milliseconds from the start of the navigation to the first paint."""


@figure("page")
def page(lab: Lab) -> Findings:
    """The page at ``/`` in Chromium, with nothing in its cache, on both stores."""
    findings = Findings()
    with chromium() as browser:
        for site in lab.sites:
            seconds = []
            for _ in range(2 * lab.scale.rounds):
                with opened(browser, site.server.url) as (shown, _):
                    seconds.append(float(shown.evaluate(PAINT)) / 1000)
            middle = median(seconds)
            what = f"page, first paint with cold cache, {site.name}"
            findings.goals.append(Goal(what, f"{middle * 1000:.0f} ms", middle, 0.3, "300 ms"))
            findings.raw[what] = seconds
    size = sum(len(asset.content) for asset in assets.load().values())
    findings.goals.append(Goal("page, all that is loaded", f"{size / 1000:.0f} kB", size, 100_000, "100 kB"))
    return findings

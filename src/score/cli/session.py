"""What every command that talks to a server begins and ends with: settings, client, display, records, status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from score.cli import exits
from score.cli.interrupts import Interrupts
from score.cli.progress import Screen, make
from score.cli.records import Records, Report
from score.client import settings as configuration
from score.client.client import Client
from score.client.outcome import Outcome, State
from score.config.sources import Values


@dataclass
class Session:
    """A run of a command."""

    client: Client
    screen: Screen
    records: Records
    interrupts: Interrupts
    report: Report | None = None
    no_transfer: bool = False
    _moved: int = 0
    _statuses: exits.Statuses = field(default_factory=exits.Statuses)

    def follow(self, outcomes: Iterable[Outcome], extra: str = "") -> int:
        """Tell of each outcome as it comes, and sum up; the exit status.

        Raises Cancelled once the user asked to stop, after what was under way is told of.
        """
        with self.interrupts.asking(self.client.stop.set):
            for outcome in outcomes:
                self._statuses.add(outcome)
                self._moved += outcome.good and outcome.state is not State.PRESENT
                if self.report is not None:
                    self.report.outcome(outcome)
                self.records.outcome(outcome)
                self.screen.ended(outcome)
        self.screen.conclude(extra)
        status = self._statuses.status
        if status == exits.OK and self.no_transfer and not self._moved:
            status = exits.NOTHING_TO_DO
        return status

    def end(self, status: int = exits.OK) -> int:
        """The last record, and the exit status. Raises Refused or NoSpace where records could not be written."""
        if self.report is not None:
            self.report.close()
        self.interrupts.settle(status)
        self.records.end(status)
        self.records.close()
        return status


def read(ctx: click.Context) -> Values:
    """The settings of this run. Raises Misconfigured."""
    return configuration.read(ctx.obj["settings"], os.environ, Path())


@contextmanager
def session(ctx: click.Context, *, server: bool = True, live: bool = True) -> Iterator[Session]:
    """A session for the settings of this run; with ``server`` the address of one must be set; without
    ``live`` no display moves, for output that may go to the same terminal. The records are left in ``ctx.obj``:
    whatever ends the program, the last one tells the exit status."""
    ctx.obj["records"] = records = Records(sys.stdout if ctx.obj.get("json") else None, ctx.info_name or "")
    report: Report | None = None
    try:
        values = read(ctx)
        screen = make(configuration.display(values), sys.stderr, live=live and not ctx.obj.get("json"))
        for line in configuration.warnings(values):
            screen.line(f"Warning: {line}")
        settings = configuration.settings(values, server=server)
        report = Report(ctx.obj["report"]) if ctx.obj.get("report") else None
        with Client(settings, listener=screen) as client, screen:
            client.limit_bandwidth(ctx.obj.get("bwlimit") or "")
            if ctx.obj.get("max_duration"):
                client.stop_after(ctx.obj["max_duration"])
            yield Session(client, screen, records, ctx.obj["interrupts"], report, bool(ctx.obj.get("no_transfer")))
    finally:
        if report is not None:
            report.close()

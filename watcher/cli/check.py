"""``watcher check``: is everything set up so that it can work?"""

from __future__ import annotations

import typer
from rich.text import Text

from watcher.cli.common import console, event_loop
from watcher.clock import SystemClock
from watcher.derived import doubts
from watcher.model import from_seconds
from watcher.ops.checks import Finding, run_checks
from watcher.settings import load_settings


def check() -> None:
    """Check settings, API, store, every endpoint and alerts: a line each; exit code 1 if any fails.

    What the store's own settings put at risk, and what is likely a slip, is a warning.
    """
    settings = load_settings(need_api=True)
    out = console()

    def show(finding: Finding) -> None:
        mark = Text("ok  ", "green") if finding.good else Text("FAIL", "red")
        if finding.doubt:
            mark = Text("warn", "yellow")
        out.print(mark, finding.name, "-", finding.text)

    show(Finding("settings", True, "complete"))
    for doubt in doubts(settings, from_seconds(SystemClock().time())):
        show(Finding("settings", True, doubt, doubt=True))
    findings = event_loop(run_checks(settings, show))
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)

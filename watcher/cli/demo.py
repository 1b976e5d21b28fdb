"""``watcher demo``: the whole system with nothing configured."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from watcher.cli.common import console, event_loop
from watcher.demo.truth import Summary
from watcher.demo.view import LiveView, print_summary
from watcher.demo.world import Scenario, staged
from watcher.errors import ConfigurationError
from watcher.events.lines import as_line


def demo(
    duration: Annotated[float, typer.Option(help="Seconds of load.")] = 20.0,
    rate: Annotated[float, typer.Option(help="Tasks that arrive in a second, on average.")] = 3.0,
    faults: Annotated[
        bool, typer.Option("--faults", help="Errors, resets, malformed pages, late rows and the like.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill the daemon half way, and start it again.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed makes the same tasks and faults.")] = 1,
) -> None:
    """Show the whole system at work: simulated API, embedded store, real daemon, verifying receiver.

    Ends with what is true at the API counted against what arrived; exit code 1 unless nothing is missing and
    nothing came twice.
    """
    wrong = [
        f"{name}: {value:g} is too little or too much; give a number from {low:g} to {high:g}"
        for name, value, low, high in (("--duration", duration, 1, 3600), ("--rate", rate, 0.1, 500))
        if not low <= value <= high
    ]
    if wrong:
        raise ConfigurationError(wrong)
    scenario = Scenario(duration=duration, rate=rate, seed=seed, faults=faults, kill=kill)
    summary = event_loop(_play(scenario, console()))
    raise typer.Exit(0 if summary.good else 1)


async def _play(scenario: Scenario, out: Console) -> Summary:
    async with staged(scenario) as stage:
        out.print(
            f"Simulated API at {stage.sandbox.base_url}: {scenario.rate:g} tasks a second for "
            f"{scenario.duration:g} s, recognised in 3 to 5 s; the daemon looks every {scenario.interval:g} s."
        )
        if out.is_terminal:
            view = LiveView(stage)
            with Live(view, console=out, refresh_per_second=8, transient=True):
                summary = await stage.play(view.show)
        else:
            summary = await stage.play(lambda entry: out.print(as_line(entry.event)))
        print_summary(out, stage, summary)
        if not summary.good:
            out.print("The end of the daemon's log:")
            out.print("\n".join(stage.daemon.log.read_text(errors="replace").splitlines()[-20:]))
    return summary

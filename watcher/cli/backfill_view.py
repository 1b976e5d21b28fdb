"""What a person sees of a backfill: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from watcher.clock import SystemClock
from watcher.state.backfill import Job

SPACING: Final = 5.0
"""Seconds between two lines where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all shards. ``done`` is from 0 to 1; ``trouble`` says why it stands still."""

    done: float
    rows: int
    requests: int
    published: int
    refused: int
    trouble: str

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> Totals:
        """The sums of some jobs, at least one; each counts by the number of its scopes."""
        found = list(jobs)
        scopes = sum(len(job.request.scopes) for job in found)
        progress = [job.progress for job in found]
        return cls(
            done=sum(job.share_done * len(job.request.scopes) for job in found) / scopes,
            rows=sum(each.rows for each in progress),
            requests=sum(each.requests for each in progress),
            published=sum(each.published for each in progress),
            refused=sum(each.refused for each in progress),
            trouble=next((each.trouble for each in progress if each.trouble), ""),
        )

    def counts(self, seconds: float, since: Totals) -> str:
        """Rows, requests, events, and how fast it went in the seconds since an earlier state."""
        rate = (self.rows - since.rows) / seconds if seconds > 0 else 0.0
        waiting = f", waiting for the API ({self.trouble})" if self.trouble else ""
        return (
            f"{self.rows} rows, {self.requests} requests, {self.published} events, {rate:.0f} rows/s{waiting}"
        )

    def summary(self, *, dry_run: bool) -> str:
        """What was done, in one line."""
        told = "would be published" if dry_run else "published"
        refused = f"; {self.refused} scopes could not be read" if self.refused else ""
        return f"{self.rows} rows read in {self.requests} requests, {self.published} events {told}{refused}"


async def shown(states: AsyncIterator[Totals], console: Console) -> Totals:
    """Show how far it has come until it ends; the last state."""
    return await (_bar if console.is_terminal else _lines)(states, console)


async def _bar(states: AsyncIterator[Totals], console: Console) -> Totals:
    clock = SystemClock()
    began, first, last = clock.monotonic(), None, None
    columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=1.0)
        async for last in states:
            first = first or last
            text = last.counts(clock.monotonic() - began, first)
            progress.update(bar, completed=last.done, description=text)
    return _ended(last)


async def _lines(states: AsyncIterator[Totals], console: Console) -> Totals:
    clock = SystemClock()
    began, first, last = clock.monotonic(), None, None
    said_at = began
    async for last in states:
        first = first or last
        now = clock.monotonic()
        if now - said_at < SPACING:
            continue
        said_at = now
        gained = last.done - first.done
        left = f", {(now - began) * (1 - last.done) / gained:.0f} s left" if gained > 0 else ""
        console.print(f"{last.done:.0%}: {last.counts(now - began, first)}{left}")
    return _ended(last)


def _ended(last: Totals | None) -> Totals:
    if last is None:
        raise ValueError("there was nothing to show")
    return last

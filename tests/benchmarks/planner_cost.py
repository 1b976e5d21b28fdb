"""What planning itself costs: CPU of a cycle's decisions, and memory for each task in flight."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Stopwatch
from tests.benchmarks.report import Cell, Column, Report, Target
from watcher.model import SECOND, Micros, TaskId
from watcher.polling.lifetimes import Histogram, Survival
from watcher.polling.looks import Sighting
from watcher.polling.planner import plan, wait
from watcher.polling.situation import Policy, Situation
from watcher.polling.widths import FIRST_WIDTH
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Start
from watcher.state.scope import ScopeState

NOW: Final = Micros(1_800_000_000 * SECOND)
SURVIVAL: Final = Survival.of(Histogram())
POLICY: Final = Policy(interval=5 * SECOND, horizon=86_400 * SECOND, early=False)
PACE: Final = 21.6


@dataclass(frozen=True, slots=True)
class Size:
    """Tasks in flight to plan for, the least first, and the plans to take the least CPU time of."""

    tasks: tuple[int, ...]
    rounds: int


FULL: Final = Size((1_000, 10_000, 100_000), 5)
QUICK: Final = Size((1_000, 10_000, 100_000), 2)


async def run(size: Size, cores: Cores) -> Report:
    """Plan a cycle, and when the next is to come, with ever more in flight."""
    rows: list[tuple[Cell, ...]] = []
    spent: list[float] = []
    for tasks in size.tasks:
        tracemalloc.start()
        situation = _situation(tasks)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        planning = [_seconds(situation) for _ in range(size.rounds)]
        spent.append(min(planning))
        growth = spent[-1] / spent[-2] / (tasks / size.tasks[len(spent) - 2]) if len(spent) > 1 else "-"
        rows.append((f"{tasks:,}", spent[-1] * 1e3, spent[-1] / tasks * 1e6, growth, held / tasks))
    linear = spent[-1] / spent[-2] / (size.tasks[-1] / size.tasks[-2])
    return Report(
        title="planning one cycle and the moment of the next",
        columns=(
            Column("in flight"),
            Column("CPU ms", ".1f"),
            Column("CPU µs a task", ".2f"),
            Column("growth ÷ linear", ".2f"),
            Column("bytes a task", ".0f"),
        ),
        rows=tuple(rows),
        reading=f"{size.tasks[-1]:,} in flight take {spent[-1]:.2f} s of CPU a cycle",
        targets=(
            Target(
                f"CPU grows linearly from {size.tasks[-2]:,} to {size.tasks[-1]:,}: {linear:.2f} times as much a task",
                linear <= 1.5,
            ),
        ),
    )


def _seconds(situation: Situation) -> float:
    with Stopwatch() as watch:
        plan(situation, POLICY)
        wait(situation, POLICY, 1.0, PACE)
    return watch.cpu


def _situation(tasks: int) -> Situation:
    draw = random.Random(1)
    sightings = {
        TaskId(f"{draw.getrandbits(128):032x}"): Sighting(
            Micros(NOW - round(age * SECOND)), Micros(NOW - round(min(age, 0.5) * SECOND)), SURVIVAL
        )
        for age in (draw.uniform(0.0, 15.0) for _ in range(tasks))
    }
    covered = Coverage.of([Interval(Micros(NOW - 600 * SECOND), Micros(NOW - SECOND))])
    return Situation(
        state=ScopeState(Start(NOW, NOW, Micros(NOW - 600 * SECOND)), covered, True),
        now=NOW,
        sightings=sightings,
        typical=SURVIVAL,
        arrival_rate=tasks / SURVIVAL.mean,
        price=0.0,
        allowed=20,
        overlap=2 * SECOND,
        width=FIRST_WIDTH,
        past=1.0,
        second_looks=1.0,
        levels=4,
        fresh_at=Micros(NOW - SECOND),
    )

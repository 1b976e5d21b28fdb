"""SIGKILL at every step between the API and an endpoint, and in pairs: nothing is lost, nothing twice on the stream."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable

import pytest

from watcher.demo.world import Scenario, Stage, staged
from watcher.steps import DIE_AT, Step

SCENARIO = Scenario(duration=1, rate=40, interval=0.2, lifetime_scale=0.1, seed=7)
PAIRS = 30


async def die_at(stage: Stage, steps: Iterable[tuple[Step, int]]) -> None:
    """End the daemon at each of these steps, reached so many times since its start, then let it run."""
    await stage.daemon.kill()
    for step, times in steps:
        await stage.daemon.start(**{DIE_AT: f"{step.value}:{times}"})
        assert await stage.daemon.wait() == -signal.SIGKILL, step
    await stage.daemon.start()


async def nothing_is_missing(stage: Stage) -> None:
    summary = await stage.play(lambda entry: None)
    assert summary.ended > 20
    assert (summary.missing, summary.duplicates, summary.bad_signatures) == (0, 0, 0)


async def test_killed_at_every_step_in_turn() -> None:
    chance = random.Random(11)  # noqa: S311 - no secret
    async with staged(SCENARIO) as stage:
        await die_at(stage, [(step, chance.randint(1, 3)) for step in Step])
        await nothing_is_missing(stage)


@pytest.mark.soak
async def test_killed_at_random_pairs_of_steps() -> None:
    chance = random.Random(12)  # noqa: S311 - no secret
    async with staged(SCENARIO) as stage:
        pairs = [(chance.choice(list(Step)), chance.choice(list(Step))) for _ in range(PAIRS)]
        await die_at(stage, [(step, chance.randint(1, 3)) for pair in pairs for step in pair])
        await nothing_is_missing(stage)

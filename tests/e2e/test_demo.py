"""The main job, from the simulated API to the verifying receiver, with the daemon killed in the middle."""

from __future__ import annotations

import pytest

from watcher.demo.truth import ended_by
from watcher.demo.world import Scenario, Stage, staged
from watcher.errors import StoreUnavailable
from watcher.events.stream import BEGINNING, follow
from watcher.state.keys import Keys


async def published(stage: Stage) -> list[str]:
    return [entry.event.id async for entry in follow(stage.redis, Keys(), BEGINNING, wait=False)]


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(Scenario(duration=6, rate=20, interval=0.5), id="calm"),
        pytest.param(Scenario(duration=8, rate=20, interval=0.5, kill=True, seed=2), id="killed"),
        pytest.param(
            Scenario(duration=8, rate=10, interval=0.5, kill=True, faults=True, seed=3), id="faults"
        ),
    ],
)
async def test_nothing_is_missing_and_nothing_twice(scenario: Scenario) -> None:
    async with staged(scenario) as stage:
        summary = await stage.play(lambda entry: None)
        assert summary.ended > 20
        assert (summary.missing, summary.duplicates, summary.bad_signatures) == (0, 0, 0)
        assert summary.published == summary.delivered == summary.ended
        assert stage.kills == scenario.kill
        ids = await published(stage)
        assert len(ids) == len(set(ids))
        assert stage.sandbox.requests_served.most_in(1.0) <= 24


async def test_killed_again_and_again_under_load() -> None:
    async with staged(Scenario(duration=1, rate=40, interval=0.2, lifetime_scale=0.1, seed=5)) as stage:
        for kill in range(5):
            await _until_published(stage, more_than=(kill + 1) * 15)
            await stage.daemon.kill()
            await stage.daemon.start()
        summary = await stage.play(lambda entry: None)
        assert summary.ended > 75
        assert (summary.missing, summary.duplicates, summary.bad_signatures) == (0, 0, 0)
        assert ended_by(stage.world.truth(stage.now), stage.now)


async def _until_published(stage: Stage, more_than: int) -> None:
    while True:
        try:
            if len(await published(stage)) > more_than:
                return
        except StoreUnavailable:
            stage.daemon.check()
        await stage.clock.sleep(0.02)

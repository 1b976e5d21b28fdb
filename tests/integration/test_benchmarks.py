"""Each benchmark runs, at a size that says nothing of speed, and finds figures that can be true."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable

import pytest

from tests.benchmarks import (
    backlog,
    decoding,
    deliveries,
    growth,
    idle,
    latency,
    memory,
    pages,
    planner_cost,
    polling,
    polling_few,
    polling_plans,
    polling_scopes,
    replicas,
)
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.arrivals import Arrivals
from tests.benchmarks.loadtool import LoadTool, Post, installed_tools
from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Ratio, Sample, Stopwatch, interleave
from tests.benchmarks.polling_baselines import BASELINES
from tests.benchmarks.receiver import running_receiver
from tests.benchmarks.report import Cell, Column, Report
from tests.benchmarks.samples import PAGE_BYTES, ROWS, events, full_page
from watcher.model import TERMINAL
from watcher.monite.wire import decode_tasks

ANYWHERE = Cores()
"""Binds nothing: other tests run beside these."""


def _numbers(row: tuple[Cell, ...]) -> list[float]:
    return [
        cell.median if isinstance(cell, Ratio) else cell for cell in row if isinstance(cell, Ratio | float)
    ]


async def test_pages() -> None:
    report = await pages.run(pages.Size(pages=2, rounds=1), ANYWHERE)
    assert len(report.rows) == 2 * len(pages.SHARES)
    for row in report.rows:
        assert len(_numbers(row)) == len(report.columns) - 1
        assert min(_numbers(row)) > 0


async def test_latency() -> None:
    report = await latency.run(latency.Size(seconds=0.3, rounds=2), ANYWHERE)
    assert len(report.rows) == len(report.targets) == 3
    for row in report.rows:
        assert 0 < _numbers(row)[0] <= _numbers(row)[1] <= _numbers(row)[2]


async def test_pages_notices_a_side_that_does_not_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_pipeline", lambda stage, made: [])
    with pytest.raises(RuntimeError, match="events and tasks in flight"):
        await pages.run(pages.Size(pages=1, rounds=1), ANYWHERE)


async def test_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "fastest_tool", lambda: None)
    size = deliveries.Size(deliveries=30, httpx=5, rounds=1, tool_seconds=1, concurrency=(2, 3))
    report = await deliveries.run(size, ANYWHERE)
    assert [row[:2] for row in report.rows] == [
        (who, concurrency)
        for concurrency in (2, 3)
        for who in ("the daemon", "bare aiohttp", "bare httpx", "load tool")
    ]
    for row in report.rows:
        if row[0] == "load tool":
            assert set(row[2:]) == {None}
        else:
            assert min(_numbers(row)) > 0
    assert len(report.targets) == 4


@pytest.mark.parametrize("tool", installed_tools() or [None], ids=lambda tool: tool.name if tool else "none")
async def test_load_tools(tool: LoadTool | None) -> None:
    if tool is None:
        pytest.skip("no load tool is installed")
    async with running_receiver(ANYWHERE) as receiver:
        post = Post(
            receiver.url, b'{"id": "\\"1\\""}', {"content-type": "application/json", "webhook-id": "1"}
        )
        assert await tool.posts_per_second(post, concurrency=2, seconds=1) > 0
        assert await receiver.posts() > 0


async def test_decoding() -> None:
    report = await decoding.run(decoding.Size(pages=1, rounds=1), ANYWHERE)
    assert len(report.rows) == 6
    for row in report.rows:
        assert row[0] == "orjson" or min(_numbers(row)) > 0


def test_the_page_is_what_it_is_said_to_be() -> None:
    page = full_page()
    tasks = decode_tasks(page).tasks
    assert len(tasks) == ROWS
    assert all(task.recognized_data is not None for task in tasks)
    assert abs(len(page) - PAGE_BYTES) < PAGE_BYTES / 20


def test_the_events_are_of_ends() -> None:
    some = events(50)
    assert len({event.id for event in some}) == 50
    assert {event.type.removeprefix("ocr_task.") for event in some} == TERMINAL


async def test_memory() -> None:
    report = await memory.run(memory.Size(tasks=(2000,)), ANYWHERE)
    ((_, _, in_flight, ended, event),) = report.rows
    assert isinstance(in_flight, float)
    assert isinstance(ended, float)
    assert isinstance(event, float)
    assert 30 < ended < in_flight < 500  # a uuid alone has 36 bytes as text, and the index has it again
    assert 300 < event < 2000


async def test_backlog() -> None:
    report = await backlog.run(backlog.Size(deliveries=(500, 2000), posts=300), ANYWHERE)
    for row in report.rows:
        stream, waiting, due, *daemon = _numbers(row)
        assert 300 < stream < 2000
        assert 40 < waiting < 400  # an id of some 15 bytes, its score, and a place in a sorted set
        assert 40 < due < 400
        assert all(1 < each < 1000 for each in daemon)
    assert len(report.targets) == (sys.platform == "linux")


@pytest.mark.soak
async def test_growth() -> None:
    size = growth.Size((1000, 2000), 20, settling=0, watching=0.1, cycles=10)
    report = await growth.run(size, ANYWHERE)
    assert len(report.rows) == 5
    stores = [_numbers(row)[1] for row in report.rows]
    few, many, beyond, scopes, more = stores
    assert few < many < beyond
    assert scopes < more
    for row in report.rows[0], report.rows[1], report.rows[3]:
        flying, _, bytes_, *_ = _numbers(row)
        assert flying > 0
        assert 60 < bytes_ < 2000  # a uuid and its record, and as little as ten of them beside a scope's own
        assert min(_numbers(row)[-3:]) > 0


@pytest.mark.soak
async def test_replicas() -> None:
    size = replicas.Size((1,), burst=400, rounds=1, rest=0.0, budgeted=1.0, losses=())
    report = await replicas.run(size, ANYWHERE)
    ((_, rate, _, _, store, _, most, *losses),) = report.rows
    assert isinstance(rate, float)
    assert isinstance(store, float)
    assert isinstance(most, int)
    assert min(rate, store) > 0
    assert 0 < most < 50
    assert set(losses) == {"-"}


def test_arrivals_count_what_certainly_came_within_a_window() -> None:
    awake = [tick / 1000 for tick in range(10_000)]
    steady = Arrivals([2.0005 + number / 10 for number in range(50)], awake)
    assert steady.most_in(1.0) == 10
    stalled = [tick for tick in awake if not 3.0 <= tick < 4.0]
    at_once = Arrivals([number / 10 for number in range(20, 30)] + [4.0005] * 10, stalled)
    assert at_once.most_in(1.0) == 10, "ten came while nobody looked"
    crowd = Arrivals([2.0005 + number / 20 for number in range(20)], awake)
    assert crowd.most_in(1.0) == 20


async def test_idle() -> None:
    report = await idle.run(idle.Size(settling=0, watching=0.2), ANYWHERE)
    *parts, together = report.rows
    if together[1] is None:
        pytest.skip("only Linux tells a process's memory this way")
    resident = [row[1] for row in parts]
    assert all(isinstance(each, float) and 1 < each < 1000 for each in resident)
    assert together[1] == pytest.approx(sum(each for each in resident if isinstance(each, float)))


async def test_polling() -> None:
    flow = polling.Flow(5.0, 24.0, "uniform", target_delay=1.0, warm=30.0, seconds=90.0)
    report = await polling.run(polling.Size((flow,)), ANYWHERE)
    watcher, *simple = report.rows
    assert [row[1] for row in simple] == list(BASELINES)
    delay, least = watcher[4], watcher[5]
    assert isinstance(delay, float)
    assert isinstance(least, float)
    assert least * 0.8 < delay < 5.0, "in a short run chance may come a little below the bound"


async def test_polling_few() -> None:
    report = await polling_few.run(polling_few.Size(3000.0, warm=300.0), ANYWHERE)
    for row in report.rows:
        assert min(_numbers(row)[:3]) > 0


async def test_polling_plans() -> None:
    report = await polling_plans.run(polling_plans.Size((5.0,), 100.0, warm=40.0), ANYWHERE)
    ((_, delay, *_),) = report.rows
    assert isinstance(delay, float)
    assert 0.5 < delay < 5.0


async def test_polling_scopes() -> None:
    report = await polling_scopes.run(polling_scopes.Size(30, seconds=120.0, warm=60.0), ANYWHERE)
    (row,) = report.rows
    assert min(_numbers(row)) > 0


async def test_planner_cost() -> None:
    report = await planner_cost.run(planner_cost.Size((100, 1000), 1), ANYWHERE)
    assert [row[0] for row in report.rows] == ["100", "1,000"]
    assert all(min(_numbers(row)) > 0 for row in report.rows)


async def test_rounds_alternate_and_the_first_is_not_kept() -> None:
    order: list[str] = []

    def contestant(name: str, seconds: float) -> Callable[[], Awaitable[Sample]]:
        async def measure() -> Sample:
            order.append(name)
            return Sample(len(order), seconds, 0.5)

        return measure

    found = await interleave({"a": contestant("a", 1), "b": contestant("b", 2)}, rounds=3)
    assert "".join(order) == "baabbaab"
    assert [sample.count for sample in found["a"]] == [3, 6, 7]


def test_ratios_are_taken_within_a_round() -> None:
    assert Ratio.of([1.0, 8.0, 3.0], [2.0, 4.0, 1.0]) == Ratio(2.0, 0.5, 3.0)


def test_a_sample_tells_figures_of_one_operation() -> None:
    sample = Sample(count=4, seconds=2.0, cpu=1.0, store_cpu=0.5)
    assert (sample.rate, sample.cost, sample.store_cost) == (2.0, 250_000.0, 125_000.0)


def test_a_stopwatch_takes_cpu_time_too() -> None:
    with Stopwatch() as watch:
        sum(range(200_000))
    assert watch.cpu > 0
    assert watch.seconds > 0


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="cells"):
        Report("t", (Column("a"), Column("b")), ((1.0,),), "")


@pytest.mark.parametrize(
    ("cell", "text"),
    [(1234.5, "1,234"), (None, "not available here"), ("-", "-"), (Ratio(1, 0.5, 2), "1.00 (0.50 to 2.00)")],
)
def test_cells(cell: Cell, text: str) -> None:
    assert Column("a", ",.0f").write(cell) == text


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^\w+", said, re.MULTILINE) == list(BENCHMARKS)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["speed"])
    assert ended.value.code == 2
    assert "no benchmark is called speed" in capsys.readouterr().err

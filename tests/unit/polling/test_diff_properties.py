"""What holds for every sequence of rows of one task: in any order, repeated, with absences in between."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from watcher.events.envelope import event_id
from watcher.model import SECOND, TERMINAL, EventId, Micros, Scope, Task, TaskId, Transition, kind_of
from watcher.polling.diff import Rules, decide, vanish
from watcher.state.records import Known, Start

KINDS = frozenset({"processing", "success", "error", "stalled", "vanished"})
RULES = Rules(Start(0, 0, 0), KINDS, stalled_after=1000 * SECOND)
NOW = Micros(100 * SECOND)

statuses = st.sampled_from(["processing", "success", "error", "canceled", "On Hold", "Success"])
VANISH = -1


@dataclass
class Watching:
    """Remembers of one task what the store would, and all that was told."""

    known: Known | None = None
    told: list[Transition] = field(default_factory=list)
    in_flight: bool = False

    def read(self, row: Task, now: Micros = NOW) -> None:
        decision = decide(row, self.known, RULES, now)
        self.known, self.in_flight = decision.known, decision.in_flight
        self.told += decision.transitions

    def miss(self) -> None:
        decision = vanish(TaskId("t"), Micros(0), self.known, RULES)
        self.known, self.in_flight = decision.known, decision.in_flight
        self.told += decision.transitions

    @property
    def ids(self) -> list[EventId]:
        return [event_id("watcher", Scope(), each) for each in self.told]


def row(status: str, stamp: int) -> Task:
    return Task(TaskId("t"), status, Micros(0), Micros(stamp))


@st.composite
def readings(draw: st.DrawFn) -> list[Task]:
    """A task's history, one stamp for each of its rows, and readings of it in any order with repeats."""
    history = [row(status, stamp) for stamp, status in enumerate(draw(st.lists(statuses, min_size=1)))]
    return draw(st.lists(st.sampled_from(history), min_size=1))


@given(st.lists(st.tuples(statuses, st.integers(0, 4)) | st.just((VANISH, 0))))
def test_no_event_id_comes_twice(steps: list[tuple[str | int, int]]) -> None:
    """Even where rows with different statuses carry the same stamp."""
    watching = Watching()
    for status, stamp in steps:
        if isinstance(status, int):
            watching.miss()
        else:
            watching.read(row(status, stamp))
    assert len(set(watching.ids)) == len(watching.ids)


@given(st.lists(st.tuples(statuses, st.integers(0, 4), st.integers(0, 3000)), min_size=1))
def test_no_event_id_comes_twice_while_time_passes(steps: list[tuple[str, int, int]]) -> None:
    watching = Watching()
    now = 0
    for status, stamp, seconds in steps:
        now += seconds * SECOND
        watching.read(row(status, stamp), Micros(now))
    assert len(set(watching.ids)) == len(watching.ids)
    stalled = [each for each in watching.told if each.kind == "stalled"]
    assert all(each.task.status == "processing" for each in stalled)


@given(readings())
def test_the_newest_row_read_is_the_one_remembered(rows: list[Task]) -> None:
    watching = Watching()
    for each in rows:
        watching.read(each)
    newest = max(rows, key=lambda each: each.updated_at)
    assert watching.known is not None
    assert (watching.known.status, watching.known.updated_at) == (newest.status, newest.updated_at)
    assert watching.in_flight == (newest.status not in TERMINAL)


@given(readings())
def test_the_newest_row_is_always_told_if_it_is_an_end(rows: list[Task]) -> None:
    watching = Watching()
    for each in rows:
        watching.read(each)
    newest = max(rows, key=lambda each: each.updated_at)
    ends = [each for each in watching.told if each.kind in TERMINAL]
    if newest.status in TERMINAL:
        assert ends[-1].kind == newest.status
        assert watching.known is not None
        assert ends[-1].revision == watching.known.revision


@given(readings())
def test_reading_everything_again_changes_nothing(rows: list[Task]) -> None:
    watching = Watching()
    for each in rows:
        watching.read(each)
    before, told = watching.known, list(watching.told)
    for each in rows:
        watching.read(each)
    assert watching.known == before
    assert watching.told == told


@given(readings())
def test_reading_each_row_at_once_again_changes_nothing(rows: list[Task]) -> None:
    once, twice = Watching(), Watching()
    for each in rows:
        once.read(each)
        twice.read(each)
        twice.read(each)
    assert once == twice


@given(readings())
def test_every_event_tells_of_a_row_that_was_read(rows: list[Task]) -> None:
    watching = Watching()
    for each in rows:
        watching.read(each)
        assert all(told.task in rows for told in watching.told)
        assert all(told.kind == kind_of(told.task.status) for told in watching.told)


@given(st.lists(statuses, min_size=1))
def test_read_in_order_every_change_is_told_but_what_this_revision_has_told(history: list[str]) -> None:
    """Against a plain restatement of the rule: a revision ends when an end is left."""
    watching = Watching()
    expected: list[tuple[str, int]] = []
    revision = 0
    last = ""
    for stamp, status in enumerate(history):
        watching.read(row(status, stamp))
        if last in TERMINAL and status != last:
            revision += 1
        if status != last and (kind_of(status), revision) not in expected:
            expected.append((kind_of(status), revision))
        last = status
    assert [(each.kind, each.revision) for each in watching.told] == expected

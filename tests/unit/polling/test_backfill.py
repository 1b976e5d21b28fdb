"""What a backfill tells: everything that was never told, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros, Task, TaskId
from watcher.polling import backfill
from watcher.polling.backfill import MARGIN, MOST_PAGES, Told, forgotten_soon, judge, told
from watcher.polling.diff import Rules
from watcher.polling.widths import FIRST_WIDTH, NARROWEST
from watcher.state.backfill import Job, Request, begun
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Known, Start
from watcher.state.scope import ScopeState

DAY = 86_400 * SECOND
T0 = 1_800_000_000 * SECOND
"""When the scope was first watched; coverage begins ten minutes before."""
NOW = Micros(T0 + 10 * DAY)
FORGOTTEN = Micros(T0 + 8 * DAY)
COVERED = Interval(Micros(T0 - 600 * SECOND), NOW)
START = Start(started_at=T0, publish_since=T0, cover_from=COVERED.low)
STATE = ScopeState(start=START, coverage=Coverage((COVERED,)), adopted=True, forgotten=FORGOTTEN)
RULES = Rules(START, frozenset({"success", "error", "stalled"}), stalled_after=300 * SECOND)


def row(created: int, took: int = 10 * SECOND, status: str = "success") -> Task:
    return Task(TaskId("a"), status, Micros(created), Micros(created + took), "invoice")


def told_of(
    task: Task, known: Known | None, state: ScopeState = STATE, rules: Rules = RULES
) -> list[str] | None:
    decision = judge(task, known, Told(state, state.forgotten), rules, NOW)
    return None if decision is None else [each.kind for each in decision.transitions]


@pytest.mark.parametrize(
    ("task", "taken_as_told"),
    [
        pytest.param(row(T0 - 30 * DAY), False, id="ended long before the first run"),
        pytest.param(row(T0 - 300 * SECOND), False, id="covered, but adopted in silence"),
        pytest.param(
            row(T0 - 300 * SECOND, took=400 * SECOND), True, id="covered, ended after the first run"
        ),
        pytest.param(row(T0 - DAY, took=DAY + SECOND), True, id="in flight at the first run, then told"),
        pytest.param(row(T0 + DAY), True, id="covered and forgotten"),
        pytest.param(row(FORGOTTEN - 1), True, id="just forgotten"),
        pytest.param(row(FORGOTTEN), False, id="just remembered: it would have a record"),
        pytest.param(row(T0 + 9 * DAY), False, id="a late row"),
    ],
)
def test_what_has_no_record_is_news_unless_it_was_told_and_forgotten(task: Task, taken_as_told: bool) -> None:
    assert told_of(task, None) == (None if taken_as_told else ["success"])


def test_a_gap_in_coverage_was_never_told() -> None:
    gap = Interval(Micros(T0 + DAY), Micros(T0 + 2 * DAY))
    state = replace(
        STATE, coverage=Coverage(STATE.coverage.gaps(COVERED.low, gap.low)).add(Interval(gap.high, NOW))
    )
    state = replace(state, coverage=state.coverage.add(Interval(COVERED.low, gap.low)))
    assert state.coverage.gaps(COVERED.low, NOW) == (gap,)
    assert told_of(row(gap.low), None, state) == ["success"]
    assert told_of(row(gap.low - 1), None, state) is None
    assert told_of(row(gap.high), None, state) is None


def test_what_was_in_flight_before_adoption_was_not_told() -> None:
    assert told_of(row(T0 - DAY, took=DAY + SECOND), None, replace(STATE, adopted=False)) == ["success"]


def test_what_an_earlier_backfill_read_was_told() -> None:
    state = replace(STATE, backfilled=Coverage((Interval(Micros(T0 - 40 * DAY), Micros(T0 - 20 * DAY)),)))
    assert told_of(row(T0 - 30 * DAY), None, state) is None
    assert told_of(row(T0 - 10 * DAY), None, state) == ["success"]


@pytest.mark.parametrize(
    ("status", "known", "kinds"),
    [
        pytest.param(
            "success", Known("success", 0, row(T0).updated_at), ["success"], id="adopted in silence"
        ),
        pytest.param(
            "success", Known("success", 0, row(T0).updated_at, frozenset({"success"})), [], id="told already"
        ),
        pytest.param(
            "error", Known("processing", 0, Micros(T0)), ["error"], id="ended since it was last seen"
        ),
        pytest.param(
            "success", Known("error", 0, Micros(T0), frozenset({"error"})), ["success"], id="ended otherwise"
        ),
        pytest.param("success", Known("success", 0, NOW), [], id="an answer older than what is known"),
        pytest.param("odd", Known("odd", 0, row(T0).updated_at), ["odd"], id="an undocumented status"),
        pytest.param(
            "on-hold", Known("on-hold", 0, row(T0).updated_at), ["on_hold"], id="one that is no word"
        ),
        pytest.param(
            "on-hold",
            Known("on-hold", 0, row(T0).updated_at, frozenset({"on_hold"})),
            [],
            id="told by its kind",
        ),
    ],
)
def test_what_has_a_record_is_compared_with_it(status: str, known: Known, kinds: list[str]) -> None:
    assert told_of(row(T0, status=status), known) == kinds


def test_a_kind_that_is_not_wanted_is_not_told() -> None:
    rules = replace(RULES, kinds=frozenset({"error"}))
    known = Known("success", 0, row(T0).updated_at)
    assert told_of(row(T0), known, rules=rules) == []
    assert told_of(row(T0 - 30 * DAY), None, rules=rules) == []


def test_what_is_adopted_keeps_its_revision_and_says_no_status_before() -> None:
    known = Known("success", 2, row(T0).updated_at)
    decision = judge(row(T0), known, Told(STATE, FORGOTTEN), RULES, NOW)
    assert decision is not None
    (transition,) = decision.transitions
    assert (transition.revision, transition.previous_status) == (2, None)
    assert decision.known == replace(known, published=frozenset({"success"}))


statuses = st.sampled_from(["processing", "success", "error", "odd"])
rows = st.builds(
    row,
    st.integers(T0 - 40 * DAY, NOW),
    st.integers(0, 3 * DAY),
    statuses,
)
records = st.none() | st.builds(
    Known,
    statuses,
    st.integers(0, 2),
    st.integers(T0 - 40 * DAY, NOW).map(Micros),
    st.frozensets(statuses, max_size=2),
)


@given(rows, records)
def test_what_was_told_is_not_told_again_while_it_is_remembered(task: Task, known: Known | None) -> None:
    first = judge(task, known, Told(STATE, FORGOTTEN), RULES, NOW)
    if first is not None:
        again = judge(task, first.known, Told(STATE, FORGOTTEN), RULES, NOW)
        assert again is not None
        assert again.transitions == ()


@given(rows, records)
def test_nor_once_it_is_forgotten(task: Task, known: Known | None) -> None:
    """The window's rows and the window itself are written in one step."""
    state = replace(STATE, backfilled=Coverage((Interval(task.created_at, Micros(task.created_at + 1)),)))
    assert judge(task, None, Told(state, Micros(task.created_at + 1)), RULES, NOW) is None


def test_records_about_to_be_forgotten_count_as_forgotten() -> None:
    horizon = DAY
    soon = forgotten_soon(STATE, horizon)
    assert soon == NOW - round(1.5 * DAY)
    assert told(replace(STATE, forgotten=Micros(0)), horizon).forgotten == soon + MARGIN
    assert told(replace(STATE, forgotten=NOW), horizon).forgotten == NOW


class TestProgress:
    request = Request(low=T0, high=T0 + 10 * FIRST_WIDTH, scopes=("-", "e"), rate=2.4)

    def test_windows_follow_each_other_through_every_scope(self) -> None:
        job = begun(self.request, FIRST_WIDTH)
        read: dict[str, list[Interval]] = {"-": [], "e": []}
        shares = []
        while not job.done:
            window = backfill.window(job)
            read[job.request.scope(job.progress.place).key].append(window)
            progress = backfill.read_completely(job, window, rows=3, requests=1, published=2)
            job = Job(job.request, progress)
            shares.append(job.share_done)
        for windows in read.values():
            assert Coverage.of(windows).intervals == (Interval(Micros(T0), Micros(T0 + 10 * FIRST_WIDTH)),)
            assert sum(each.span for each in windows) == 10 * FIRST_WIDTH
        count = sum(map(len, read.values()))
        assert (job.progress.rows, job.progress.requests, job.progress.published) == (
            3 * count,
            count,
            2 * count,
        )
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

    def test_a_window_too_wide_is_read_again_narrower(self) -> None:
        job = begun(self.request, FIRST_WIDTH)
        window = backfill.window(job)
        assert backfill.too_wide(window, MOST_PAGES)
        assert not backfill.too_wide(window, MOST_PAGES - 1)
        assert not backfill.too_wide(Interval(window.low, Micros(window.low + NARROWEST)), 1000)
        job = Job(self.request, backfill.read_in_vain(job, window, requests=10))
        assert backfill.window(job) == Interval(window.low, Micros(window.low + FIRST_WIDTH // 2))
        assert job.progress.requests == 10

    def test_a_refused_scope_is_passed_over(self) -> None:
        job = Job(self.request, backfill.refused(begun(self.request, FIRST_WIDTH), 1))
        assert (job.progress.place, job.progress.refused, job.share_done) == (1, 1, 0.5)
        job = Job(self.request, backfill.refused(job, 1))
        assert job.done

    def test_trouble_stays_until_something_was_read(self) -> None:
        job = begun(self.request, FIRST_WIDTH)
        job = Job(self.request, backfill.in_trouble(job, "timeout", 3))
        assert (job.progress.trouble, job.progress.at, job.progress.requests) == ("timeout", T0, 3)
        done = backfill.read_completely(job, backfill.window(job), rows=0, requests=1, published=0)
        assert done.trouble == ""

    def test_what_counts_as_the_same_request(self) -> None:
        open_ended = Request(T0, T0 + 5, ("-",), 1.0, until_now=True)
        assert open_ended.same_as(Request(T0, T0 + 9, ("-",), 2.0, until_now=True))
        assert not open_ended.same_as(Request(T0, T0 + 5, ("-",), 1.0))
        assert not Request(T0, T0 + 5, ("-",), 1.0).same_as(open_ended)
        assert Request(T0, T0 + 5, ("-",), 1.0).same_as(Request(T0, T0 + 5, ("-",), 2.0))
        assert not Request(T0, T0 + 5, ("-",), 1.0).same_as(Request(T0, T0 + 6, ("-",), 1.0))
        assert not Request(T0, T0 + 5, ("-",), 1.0).same_as(Request(T0, T0 + 5, ("e",), 1.0))

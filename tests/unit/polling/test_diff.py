"""What a row means, by tables: every status known, every status read, every order of the two stamps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from watcher.model import SECOND, Micros, Task, TaskId
from watcher.polling.diff import Decision, Reason, Rules, decide, kinds_of, vanish
from watcher.state.records import Known, Start

T0 = 1_800_000_000
"""When watching began, in seconds; all other instants of these tests count from here."""
NOW = 10
ID = TaskId("7a1f")
DEFAULT = frozenset({"success", "error", "stalled", "vanished"})


def at(seconds: float) -> Micros:
    return Micros(round((T0 + seconds) * SECOND))


BASELINE = Start(started_at=at(0), publish_since=at(0), cover_from=at(-600))
EVERYTHING = Start(started_at=at(0), publish_since=0, cover_from=at(-600))
SINCE_A_MINUTE_BEFORE = Start(started_at=at(0), publish_since=at(-60), cover_from=at(-60))


def rules(start: Start = BASELINE, kinds: frozenset[str] = DEFAULT) -> Rules:
    return Rules(start, kinds, stalled_after=300 * SECOND)


def task(status: str, *, created: float = 1, updated: float = 2) -> Task:
    return Task(ID, status, at(created), at(updated), "invoice", b'{"total_amount": 1.10}')


def known(status: str, revision: int = 0, updated: float = 2, told: str = "") -> Known:
    return Known(status, revision, at(updated), frozenset(told.split()))


def told(decision: Decision) -> list[tuple[str, str | None, int]]:
    return [(each.kind, each.previous_status, each.revision) for each in decision.transitions]


@dataclass(frozen=True, slots=True)
class Seen:
    """What to expect of a row: the reason, what is told, and the revision from then on."""

    reason: Reason
    kinds: tuple[str, ...] = ()
    revision: int = 0


STALE = Seen(Reason.STALE)
SAME = Seen(Reason.UNCHANGED)


def changed(*kinds: str, revision: int = 0) -> Seen:
    return Seen(Reason.CHANGED, kinds, revision)


# (known, row): (an older row, one with the same stamp, a newer one)
MATRIX = {
    ("processing", "processing"): (STALE, SAME, SAME),
    ("processing", "success"): (STALE, changed("success"), changed("success")),
    ("processing", "error"): (STALE, changed("error"), changed("error")),
    ("processing", "canceled"): (STALE, changed("canceled"), changed("canceled")),
    ("success", "processing"): (STALE, STALE, changed(revision=1)),
    ("success", "success"): (STALE, SAME, SAME),
    ("success", "error"): (STALE, changed("error", revision=1), changed("error", revision=1)),
    ("success", "canceled"): (STALE, STALE, changed("canceled", revision=1)),
    ("error", "processing"): (STALE, STALE, changed(revision=1)),
    ("error", "success"): (STALE, changed("success", revision=1), changed("success", revision=1)),
    ("error", "error"): (STALE, SAME, SAME),
    ("error", "canceled"): (STALE, STALE, changed("canceled", revision=1)),
    ("canceled", "processing"): (STALE, changed(), changed()),
    ("canceled", "success"): (STALE, changed("success"), changed("success")),
    ("canceled", "error"): (STALE, changed("error"), changed("error")),
    ("canceled", "canceled"): (STALE, SAME, SAME),
}


@pytest.mark.parametrize(
    ("before", "status", "stamp", "expected"),
    [
        pytest.param(before, status, stamp, expected, id=f"{before}-{status}-{stamp}")
        for (before, status), row in MATRIX.items()
        for stamp, expected in zip((4, 5, 6), row, strict=True)
    ],
)
def test_a_row_of_a_known_task(before: str, status: str, stamp: float, expected: Seen) -> None:
    already = "" if before == "processing" else before
    decision = decide(task(status, updated=stamp), known(before, updated=5, told=already), rules(), at(NOW))
    assert decision.reason is expected.reason
    assert told(decision) == [(kind, before, expected.revision) for kind in expected.kinds]
    if expected is STALE:
        assert decision.known == known(before, updated=5, told=already)
    else:
        kept = already.split() if expected.revision == 0 else []
        published = " ".join([*kept, *expected.kinds])
        assert decision.known == known(status, expected.revision, stamp, published)
    final = before if expected is STALE else status
    assert decision.in_flight == (final in ("processing", "canceled"))


# (first-run rule, status, created, updated): is it told, is it then watched
FIRST = [
    (BASELINE, "processing", -60, -60, (), Reason.ADOPTED),
    (BASELINE, "processing", -60, 5, (), Reason.ADOPTED),
    (BASELINE, "success", -60, -1, (), Reason.ADOPTED),
    (BASELINE, "error", -60, -0.000_001, (), Reason.ADOPTED),
    (BASELINE, "canceled", -60, -1, (), Reason.ADOPTED),
    (BASELINE, "success", -60, 0, ("success",), Reason.FIRST_SEEN),
    (BASELINE, "canceled", -60, 5, ("canceled",), Reason.FIRST_SEEN),
    (BASELINE, "processing", 0, 0, (), Reason.FIRST_SEEN),
    (BASELINE, "success", 0, 0, ("success",), Reason.FIRST_SEEN),
    (BASELINE, "error", 1, 5, ("error",), Reason.FIRST_SEEN),
    (BASELINE, "canceled", 1, 5, ("canceled",), Reason.FIRST_SEEN),
    (EVERYTHING, "processing", -60, -60, (), Reason.FIRST_SEEN),
    (EVERYTHING, "success", -90_000, -89_990, ("success",), Reason.FIRST_SEEN),
    (EVERYTHING, "error", -60, -50, ("error",), Reason.FIRST_SEEN),
    (EVERYTHING, "canceled", -60, -50, ("canceled",), Reason.FIRST_SEEN),
    (SINCE_A_MINUTE_BEFORE, "success", -60, -50, ("success",), Reason.FIRST_SEEN),
    (SINCE_A_MINUTE_BEFORE, "success", -61, -50, (), Reason.ADOPTED),
    (SINCE_A_MINUTE_BEFORE, "success", -61, 1, ("success",), Reason.FIRST_SEEN),
]


@pytest.mark.parametrize(("start", "status", "created", "updated", "kinds", "reason"), FIRST)
def test_a_row_of_a_task_never_seen(
    start: Start, status: str, created: float, updated: float, kinds: tuple[str, ...], reason: Reason
) -> None:
    decision = decide(task(status, created=created, updated=updated), None, rules(start), at(NOW))
    assert decision.reason is reason
    assert told(decision) == [(kind, None, 0) for kind in kinds]
    assert decision.known == known(status, 0, updated, " ".join(kinds))
    assert decision.in_flight == (status in ("processing", "canceled"))


def test_the_transition_carries_the_row() -> None:
    row = task("success")
    (transition,) = decide(row, None, rules(), at(NOW)).transitions
    assert transition.task is row
    assert transition.type == "ocr_task.success"
    assert not transition.unknown_status


def test_an_adopted_end_is_told_once_the_task_has_been_at_work_again() -> None:
    adopted = decide(task("success", created=-60, updated=-50), None, rules(), at(NOW)).known
    again = decide(task("processing", created=-60, updated=5), adopted, rules(), at(NOW))
    assert told(again) == []
    ended = decide(task("success", created=-60, updated=9), again.known, rules(), at(NOW))
    assert told(ended) == [("success", "processing", 1)]


def test_revisions_count_how_often_an_end_was_left() -> None:
    at_work = rules(kinds=DEFAULT | {"processing"})
    memory: Known | None = None
    seen = []
    for stamp, status in enumerate(["processing", "error", "processing", "success", "error", "processing"]):
        decision = decide(task(status, updated=2 + stamp), memory, at_work, at(NOW))
        memory = decision.known
        seen += told(decision)
    assert seen == [
        ("processing", None, 0),
        ("error", "processing", 0),
        ("processing", "error", 1),
        ("success", "processing", 1),
        ("error", "success", 2),
        ("processing", "error", 3),
    ]


def test_an_undocumented_status_between_two_documented_ones_is_told_once() -> None:
    memory: Known | None = None
    seen = []
    for stamp, status in enumerate(["processing", "queued", "processing", "queued", "success"]):
        decision = decide(task(status, updated=2 + stamp), memory, rules(), at(NOW))
        memory = decision.known
        seen += told(decision)
        assert decision.in_flight == (status != "success")
    assert seen == [("queued", "processing", 0), ("success", "queued", 0)]


def test_an_undocumented_status_is_flagged_and_told_whatever_types_are_wanted() -> None:
    (transition,) = decide(task("canceled"), None, rules(kinds=frozenset()), at(NOW)).transitions
    assert transition.type == "ocr_task.canceled"
    assert transition.unknown_status


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("on-hold", "on_hold"),
        ("On Hold", "on_hold"),
        ("zurück", "zur_ck"),
        ("Success", "success_"),
        ("ERROR", "error_"),
        ("stalled", "stalled_"),
        ("vanished", "vanished_"),
        ("|", "_"),
    ],
)
def test_an_undocumented_status_is_told_under_a_name_and_passes_for_no_other(status: str, kind: str) -> None:
    seen = decide(task(status), known("processing"), rules(), at(NOW))
    assert told(seen) == [(kind, "processing", 0)]
    assert seen.transitions[0].unknown_status
    assert seen.known.status == seen.transitions[0].task.status == status
    assert decide(task(status), seen.known, rules(), at(NOW)).transitions == ()
    assert told(decide(task("success", updated=3), seen.known, rules(), at(NOW))) == [("success", status, 0)]


def test_statuses_are_compared_as_they_came() -> None:
    """Both are told by the same id, so one of them says it all; the later one is what is remembered."""
    first = decide(task("on-hold"), known("processing"), rules(), at(NOW))
    second = decide(task("on_hold", updated=3), first.known, rules(), at(NOW))
    assert (second.reason, told(second), second.known.status) == (Reason.CHANGED, [], "on_hold")


@pytest.mark.parametrize(("quiet", "watched"), [(0, True), (299.999_999, True), (300, False), (9000, False)])
@pytest.mark.parametrize("before", [None, known("canceled", told="canceled"), known("processing")])
def test_an_undocumented_status_is_watched_until_it_has_been_quiet(
    before: Known | None, quiet: float, watched: bool
) -> None:
    decision = decide(task("canceled"), before, rules(), at(2 + quiet))
    assert decision.in_flight is watched


def test_a_stale_row_of_a_quiet_undocumented_status_does_not_bring_it_back() -> None:
    before = known("canceled", updated=2, told="canceled")
    assert not decide(task("processing", updated=1), before, rules(), at(302)).in_flight


@pytest.mark.parametrize("kinds", [frozenset(), frozenset({"stalled"}), frozenset({"error"})])
def test_a_type_switched_off_is_remembered_in_silence(kinds: frozenset[str]) -> None:
    decision = decide(task("success", updated=3), known("processing"), rules(kinds=kinds), at(NOW))
    assert told(decision) == []
    assert decision.known == known("success", updated=3)
    assert not decision.in_flight


def test_a_type_switched_on_later_does_not_tell_of_the_past() -> None:
    silent = decide(task("success"), None, rules(kinds=frozenset()), at(NOW)).known
    assert told(decide(task("success"), silent, rules(), at(NOW))) == []


class TestStalled:
    def test_is_told_from_the_moment_on_and_once(self) -> None:
        row = task("processing", created=0, updated=0)
        before = decide(row, None, rules(), at(299.999_999))
        assert told(before) == []
        first = decide(row, before.known, rules(), at(300))
        assert told(first) == [("stalled", "processing", 0)]
        assert first.reason is Reason.UNCHANGED
        assert first.in_flight
        touched = task("processing", created=0, updated=400)
        assert told(decide(touched, first.known, rules(), at(500))) == []

    def test_the_end_that_comes_after_all_is_told(self) -> None:
        before = known("processing", updated=0, told="stalled")
        decision = decide(task("error", created=0, updated=900), before, rules(), at(901))
        assert told(decision) == [("error", "processing", 0)]
        assert decision.known.published == {"stalled", "error"}

    def test_is_told_of_one_that_was_old_when_first_seen(self) -> None:
        decision = decide(task("processing", created=-900, updated=-900), None, rules(), at(NOW))
        assert told(decision) == [("stalled", "processing", 0)]

    def test_is_told_with_the_start_of_the_work_where_both_are_new(self) -> None:
        both = rules(EVERYTHING, DEFAULT | {"processing"})
        decision = decide(task("processing", created=-900, updated=-900), None, both, at(NOW))
        assert told(decision) == [("processing", None, 0), ("stalled", "processing", 0)]

    def test_is_told_again_for_a_task_at_work_again(self) -> None:
        before = known("success", updated=2, told="stalled success")
        decision = decide(task("processing", created=-900, updated=5), before, rules(), at(NOW))
        assert told(decision) == [("stalled", "processing", 1)]

    @pytest.mark.parametrize("status", ["success", "error", "canceled"])
    def test_is_not_told_of_another_status(self, status: str) -> None:
        decision = decide(task(status, created=-900, updated=-800), None, rules(), at(NOW))
        assert told(decision) == []

    def test_is_not_told_where_it_is_switched_off(self) -> None:
        off = rules(kinds=DEFAULT - {"stalled"})
        assert told(decide(task("processing", created=-900), None, off, at(NOW))) == []


class TestVanished:
    def test_is_told_once_with_what_was_last_known(self) -> None:
        decision = vanish(ID, at(1), known("processing", 2, 5, "stalled"), rules())
        (transition,) = decision.transitions
        assert (transition.kind, transition.previous_status, transition.revision) == (
            "vanished",
            "processing",
            2,
        )
        assert transition.task == Task(ID, "processing", at(1), at(5))
        assert not transition.unknown_status
        assert decision.known == known("processing", 2, 5, "stalled vanished")
        assert decision.reason is Reason.VANISHED
        assert not decision.in_flight
        again = vanish(ID, at(1), decision.known, rules())
        assert told(again) == []
        assert not again.in_flight

    def test_one_that_returns_is_watched_and_not_said_to_vanish_twice(self) -> None:
        gone = vanish(ID, at(1), known("processing"), rules())
        back = decide(task("processing"), gone.known, rules(), at(NOW))
        assert back.in_flight
        assert told(back) == []
        assert told(vanish(ID, at(1), back.known, rules())) == []
        ended = decide(task("success", updated=8), back.known, rules(), at(NOW))
        assert told(ended) == [("success", "processing", 0)]

    def test_one_that_vanishes_in_a_later_revision_is_told_again(self) -> None:
        gone = vanish(ID, at(1), known("processing"), rules()).known
        ended = decide(task("success", updated=8), gone, rules(), at(NOW)).known
        reopened = decide(task("processing", updated=9), ended, rules(), at(NOW)).known
        assert told(vanish(ID, at(1), reopened, rules())) == [("vanished", "processing", 1)]

    def test_one_without_a_record_is_taken_for_one_at_work(self) -> None:
        decision = vanish(ID, at(1), None, rules())
        assert told(decision) == [("vanished", "processing", 0)]
        assert decision.known == known("processing", 0, 1, "vanished")

    def test_where_it_is_switched_off_watching_ends_in_silence(self) -> None:
        before = known("processing")
        decision = vanish(ID, at(1), before, rules(kinds=frozenset({"success"})))
        assert decision == Decision(before, in_flight=False, transitions=(), reason=Reason.VANISHED)


def test_kinds_are_types_without_their_prefix() -> None:
    assert kinds_of({"ocr_task.success", "ocr_task.stalled"}) == {"success", "stalled"}

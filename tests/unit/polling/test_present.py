"""The regimes of the present: what fits a page, what does not, and what is better found young."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.polling.situations import DOCUMENTED, POLICY, T0, at, seen, situation, span, state
from watcher.model import SECOND, Micros
from watcher.polling import ladder
from watcher.polling.flight import PAGE
from watcher.polling.present import FULL, PATIENCE, Option, besides, edge_of, page_span, present
from watcher.polling.situation import STEADY, Batch, Situation, Window

NOW = 1000.0
EARLY = replace(POLICY, early=True)


def flowing(rate: float, *, unread: float, unseen: float = 0.0, **changes: object) -> Situation:
    """Tasks have come evenly; those of the last seconds have not been read, the others were seen a while ago."""
    ages = [(unread + (number + 0.5) / rate, unseen) for number in range(int(rate * 12))]
    given: dict[str, object] = {
        "sightings": seen(NOW, *ages),
        "arrival_rate": rate,
        "fresh_at": at(NOW - 1),
        "overlap": 2 * SECOND,
        **changes,
    }
    return situation(state(span(-600, NOW - unread)), NOW, **given)


def chosen(made: Situation, early: bool = False) -> list[Option]:
    edge = edge_of(made.state.coverage, at(-600), made)
    return present(edge, made, EARLY if early else POLICY)


def window(made: Situation, early: bool = False) -> Window | None:
    return next((each.read for each in chosen(made, early) if isinstance(each.read, Window)), None)


@pytest.mark.parametrize(
    ("in_flight", "steady", "crowded"),
    [(STEADY - 1, False, False), (STEADY + 1, True, False), (PAGE - 1, True, False), (PAGE + 1, False, True)],
)
def test_the_regime_follows_from_how_many_are_in_flight(
    in_flight: float, steady: bool, crowded: bool
) -> None:
    made = flowing(in_flight / DOCUMENTED.mean, unread=1)
    assert (made.steady, made.crowded) == (steady, crowded)


class TestTrailing:
    """Where more is in flight than fits a page, the youngest wait: they cannot have ended."""

    def test_the_window_ends_before_the_youngest(self) -> None:
        found = window(flowing(20.0, unread=10, unseen=5, fresh_at=at(NOW - 10)))
        assert found is not None
        assert at(NOW - 10) < found.interval.high < at(NOW)

    def test_not_where_processing_is_published(self) -> None:
        found = window(flowing(20.0, unread=10, unseen=5, fresh_at=at(NOW - 10)), early=True)
        assert found is not None
        assert found.interval.high == at(NOW)

    def test_not_where_a_page_shows_everything(self) -> None:
        found = window(flowing(5.0, unread=10, unseen=5, fresh_at=at(NOW - 10)))
        assert found is not None
        assert found.interval.high == at(NOW)


class TestYoung:
    """Where a page spans so long that its tasks end at very different times, they are found before they end."""

    RATE = 9.0

    def pages(self, made: Situation) -> float:
        found = window(made)
        return 0.0 if found is None else found.interval.span / page_span(made.arrival_rate)

    def unread(self, pages: float, rate: float = RATE, **changes: object) -> Situation:
        """So many pages have come and were not read, beyond what may still be late; too few to be worth a look."""
        seconds = pages * page_span(rate) / SECOND + 2
        return flowing(rate, unread=seconds, **{"price": 20.0} | changes)  # type: ignore[arg-type] # not `unseen`

    @pytest.mark.parametrize(("there", "read"), [(0.9, 0), (1.1, 1), (2.5, 2)])
    def test_they_are_read_by_whole_pages(self, there: float, read: int) -> None:
        assert self.pages(self.unread(there)) == pytest.approx(read, abs=1e-4)

    def test_they_are_read_up_to_what_may_still_appear_late(self) -> None:
        made = self.unread(1.1)
        found = window(made)
        assert found is not None
        assert found.interval.low == at(NOW - 1.1 * page_span(self.RATE) / SECOND - 2)
        assert found.interval.high <= at(NOW - 2)

    @pytest.mark.parametrize(("there", "read"), [(PATIENCE - 0.1, 0), (PATIENCE + 0.05, 1)])
    def test_the_only_request_there_is_goes_to_them_a_little_later(self, there: float, read: int) -> None:
        assert self.pages(self.unread(there, allowed=1)) == pytest.approx(read, abs=1e-4)

    def test_not_where_a_page_spans_moments(self) -> None:
        assert window(self.unread(1.5, rate=200.0)) is None

    def test_not_where_hints_find_them(self) -> None:
        assert window(self.unread(1.1, hinted=True)) is None

    def test_not_where_looks_are_worth_more(self) -> None:
        made = self.unread(1.1)
        looked_at_long_ago = seen(NOW, *[(40.0, 20.0)] * 100)
        assert isinstance(chosen(replace(made, sightings=looked_at_long_ago))[0].read, Batch)


class TestBesides:
    def test_nothing_where_a_page_shows_everything(self) -> None:
        assert besides(flowing(5.0, unread=1), 2.0) == 0.0

    @pytest.mark.parametrize(("rate", "pace"), [(50.0, 2.0), (50.0, 20.0), (200.0, 2.0)])
    def test_second_looks_take_their_share_and_no_more_than_there_is_to_read(
        self, rate: float, pace: float
    ) -> None:
        download = rate / (PAGE * FULL)
        assert besides(flowing(rate, unread=1), pace) == pytest.approx(min(ladder.SHARE * pace, download))

    def test_what_is_found_young_takes_its_download_and_at_most_half(self) -> None:
        made = flowing(9.0, unread=1, price=0.01)
        download = 9.0 / (PAGE * FULL)
        assert besides(made, 20.0) == pytest.approx(2 * download)
        idle = replace(made, sightings={})
        assert besides(idle, 0.2) == pytest.approx(ladder.SHARE * 0.2 + 0.2 / 2)

    def test_not_where_a_look_a_request_later_is_worth_more(self) -> None:
        made = flowing(9.0, unread=1, price=0.01)
        assert besides(made, 0.05) == pytest.approx(ladder.SHARE * 0.05)


def test_the_edge_is_the_end_of_what_is_covered_or_one_width_ago() -> None:
    known = state(span(-600, 900))
    made = situation(known, NOW)
    assert edge_of(known.coverage, at(-600), made) == at(900)
    assert edge_of(known.coverage, at(-600), replace(made, width=50 * SECOND)) == at(NOW - 50)
    assert edge_of(state(span(-600, NOW)).coverage, at(-600), made) == Micros(T0 + round(NOW) * SECOND)


def test_by_id_go_those_that_have_gathered_most() -> None:
    made = situation(
        state(span(-600, NOW - 1)),
        NOW,
        sightings=seen(NOW, *[(400.0, 1.0)] * 100, *[(400.0, 60.0)] * 100),
        fresh_at=at(NOW - 1),
        allowed=1,
    )
    (found,) = chosen(made)
    assert isinstance(found.read, Batch)
    assert found.read.ids == tuple(sorted(made.sightings, reverse=True)[:100])

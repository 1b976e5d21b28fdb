"""The regimes of the present: what fits a page, what does not, and what is better found young."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.polling.situations import DOCUMENTED, POLICY, T0, at, seen, situation, span, state
from watcher.model import SECOND, Micros
from watcher.polling.flight import PAGE
from watcher.polling.present import Option, edge_of, present
from watcher.polling.situation import STEADY, Batch, Situation, Window

NOW = 1000.0
EARLY = replace(POLICY, early=True)


def flowing(
    rate: float, *, unread: float, unseen: float = 0.0, known: float = 12.0, **changes: object
) -> Situation:
    """Tasks have come evenly; those of the last seconds are unread, and of some before all were seen a while ago."""
    ages = [(unread + (number + 0.5) / rate, unseen) for number in range(int(rate * known))]
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


class TestByFullPages:
    """Where more is in flight than fits a page, windows are read by full pages, and the youngest wait."""

    def trailing(self, known: float = 12.0, **changes: object) -> Situation:
        given: dict[str, object] = {"price": 0.05, "fresh_at": at(NOW - 1), "overlap": SECOND} | changes
        return flowing(20.0, unread=11.5, unseen=0.2, known=known, **given)

    def test_a_page_goes_on_from_what_is_covered(self) -> None:
        """All of it is new where more is known than fits a page by id: a place on it is worth one there."""
        found = window(self.trailing(known=5.5))
        assert found is not None
        assert (found.interval.low, found.until) == (at(NOW - 11.5), at(NOW - 11.5))

    def test_a_page_is_one_request(self) -> None:
        (found, *_) = chosen(self.trailing())
        assert found.requests == 1

    def test_its_rest_shows_those_in_flight_that_are_older_where_a_page_by_id_has_room(self) -> None:
        """And the batch beside it is asked for the others."""
        window, batch = chosen(self.trailing(known=4.5, allowed=2, price=0.001))
        assert window.shown is not None
        assert at(NOW - 16.5) < window.shown.low < at(NOW - 11.5) < window.shown.high
        assert isinstance(batch.read, Batch)

    def test_what_is_to_be_read_again_is_read_with_more_than_a_page_of_new_ones(self) -> None:
        """Or it would be read again for the sake of every page, and a busy scope would never catch up."""
        made = flowing(200.0, unread=14, overlap=30 * SECOND, fresh_at=at(NOW - 14))
        found = window(made)
        assert found is not None
        assert found.interval.low <= at(NOW - 44)
        assert found.until is not None
        assert found.until >= at(NOW - 14 + 2)

    def test_not_where_processing_is_published(self) -> None:
        found = window(self.trailing(), early=True)
        assert found is None or found.until is None
        found = window(flowing(20.0, unread=10, unseen=5, fresh_at=at(NOW - 10)), early=True)
        assert found is not None
        assert (found.interval.high, found.until) == (at(NOW), None)

    def test_not_where_a_page_shows_everything(self) -> None:
        found = window(flowing(3.0, unread=10, unseen=5, fresh_at=at(NOW - 10)))
        assert found is not None
        assert (found.interval.high, found.until) == (at(NOW), None)

    def test_though_all_in_flight_would_fit_a_page_where_that_of_the_youngest_leaves_many_out(self) -> None:
        found = window(flowing(5.0, unread=10, unseen=5, fresh_at=at(NOW - 10)))
        assert found is not None
        assert found.until is not None


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
    assert sorted(found.read.ids) == sorted(made.sightings)[100:]

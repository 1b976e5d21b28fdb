from __future__ import annotations

from watcher.fleet.sight import BLIND, FIRST, LONGEST, Sight


def test_what_reads_is_able() -> None:
    sight = Sight()
    assert all(sight.able(polling=True, blind=False, now=now) for now in range(0, 600, 5))


def test_trouble_that_passes_leaves_the_polling_where_it_is() -> None:
    sight = Sight()
    for began in range(0, 600, 100):
        assert sight.able(polling=True, blind=True, now=began)
        assert sight.able(polling=True, blind=True, now=began + BLIND - 1)
        assert sight.able(polling=True, blind=False, now=began + BLIND)


def test_who_reads_nothing_for_long_leaves_the_polling_to_others_for_a_while_and_then_tries() -> None:
    sight = Sight()
    assert sight.able(polling=True, blind=True, now=0)
    assert not sight.able(polling=True, blind=True, now=BLIND)
    assert not sight.able(polling=False, blind=False, now=BLIND + FIRST - 1)
    assert sight.able(polling=False, blind=False, now=BLIND + FIRST)


def test_the_while_doubles_up_to_a_bound_and_begins_anew_once_something_was_read() -> None:
    sight, now, waits = Sight(), 0.0, []
    for _ in range(6):
        assert sight.able(polling=True, blind=True, now=now)
        now += BLIND
        assert not sight.able(polling=True, blind=True, now=now)
        wait = 0.0
        while not sight.able(polling=False, blind=False, now=now + wait):
            wait += 5
        waits.append(wait)
        now += wait
    assert waits == [60, 120, 240, 480, LONGEST, LONGEST]
    assert sight.able(polling=True, blind=False, now=now)
    assert sight.able(polling=True, blind=True, now=now)
    assert not sight.able(polling=True, blind=True, now=now + BLIND)
    assert sight.able(polling=True, blind=True, now=now + BLIND + FIRST)


def test_who_polls_nothing_is_not_blind() -> None:
    sight = Sight()
    assert all(sight.able(polling=False, blind=True, now=now) for now in range(0, 600, 5))

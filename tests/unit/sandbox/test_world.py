from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sandbox.helpers import NOBODY, QUICK, START, after, world_of
from watcher.model import Micros, Scope, TaskId
from watcher.sandbox import Cursor, Faults, Page, Query, SimulatedTask, World, WorldSettings

BUSY = WorldSettings(rate=8.0, entities=2, twin_share=0.3, visibility_scale=1.0)
TROUBLED = Faults(late=0.2, canceled=0.2, deleted=0.1, deleted_unfinished=0.1, revised=0.1)


@lru_cache
def troubled(seed: int) -> World:
    """A world that may serve many examples: asking it changes nothing, as a test below shows."""
    return world_of(replace(BUSY, seed=seed), TROUBLED)


def forwards(world: World, query: Query, now: Micros, scope: Scope = NOBODY) -> list[Page]:
    pages, cursor = [], None
    while True:
        pages.append(world.page(scope, query, now, cursor))
        cursor = pages[-1].next
        if cursor is None:
            return pages


def rows(pages: list[Page]) -> list[SimulatedTask]:
    return [task for page in pages for task in page.tasks]


def expected(world: World, query: Query, now: Micros, scope: Scope) -> list[SimulatedTask]:
    """The listing made the simple way, from everything there is."""
    found = [
        task
        for task in world.truth(now)
        if task.scope == scope
        and task.visible_at <= now
        and (task.deleted_at is None or task.deleted_at > now)
        and (query.created_from is None or task.created_at >= query.created_from)
        and (query.created_before is None or task.created_at < query.created_before)
        and query.status in (None, task.status_at(now))
        and query.document_type in (None, task.document_type_at(now))
        and (query.ids is None or task.id in query.ids)
    ]
    if query.sort == "id":
        return sorted(found, key=lambda task: task.id, reverse=query.descending)
    return sorted(found, key=lambda task: (task.created_at, task.id), reverse=query.descending)


@st.composite
def queries(draw: st.DrawFn, world: World) -> Query:
    bound = st.one_of(st.none(), st.integers(-5, 70).map(after))
    ids = [task.id for task in world.truth(after(70))] + [TaskId("absent")]
    return Query(
        sort=draw(st.sampled_from(("created_at", "id"))),
        descending=draw(st.booleans()),
        limit=draw(st.integers(1, 100)),
        created_from=draw(bound),
        created_before=draw(bound),
        status=draw(st.sampled_from((None, "processing", "success", "error", "canceled"))),
        document_type=draw(st.sampled_from((None, "invoice", "receipt", "credit_note"))),
        ids=draw(st.one_of(st.none(), st.lists(st.sampled_from(ids), max_size=30).map(tuple))),
    )


@settings(deadline=None)
@given(st.data(), st.integers(0, 3), st.integers(-1, 70))
def test_a_listing_is_what_the_simple_way_finds(data: st.DataObject, seed: int, second: int) -> None:
    world = troubled(seed)
    scope = data.draw(st.sampled_from(world.scopes))
    query = data.draw(queries(world))
    now = after(second)
    pages = forwards(world, query, now, scope)
    assert rows(pages) == expected(world, query, now, scope)
    assert all(len(page.tasks) == query.limit for page in pages[:-1])
    assert pages[0].previous is None


@settings(deadline=None)
@given(st.data(), st.integers(1, 40))
def test_going_back_shows_the_same_pages(data: st.DataObject, limit: int) -> None:
    world = troubled(seed=1)
    query = replace(data.draw(queries(world)), limit=limit)
    pages = forwards(world, query, after(60))
    back, cursor = [pages[-1]], pages[-1].previous
    while cursor is not None:
        back.append(world.page(NOBODY, query, after(60), cursor))
        cursor = back[-1].previous
    assert [page.tasks for page in reversed(back)] == [page.tasks for page in pages]
    assert all(page.next is not None for page in back[1:])


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(-10, 60), max_size=6))
def test_looking_does_not_change_the_world(looks: list[int]) -> None:
    looked, other = world_of(BUSY, TROUBLED), world_of(BUSY, TROUBLED)
    for second in looks:
        looked.page(NOBODY, Query(), after(second))
    assert looked.truth(after(50)) == other.truth(after(50))


def test_seeds_differ() -> None:
    one, other = world_of(BUSY).truth(after(10)), world_of(BUSY, seed=2).truth(after(10))
    assert not {task.id for task in one} & {task.id for task in other}


def test_the_past_can_be_asked_for_again() -> None:
    world = world_of()
    then = world.page(NOBODY, Query(), after(10))
    world.advance(after(100))
    assert world.page(NOBODY, Query(), after(10)) == then
    assert world.truth(after(10)) == list(then.tasks)


def test_truth_is_everything_created_in_order_and_nothing_later() -> None:
    world = world_of(BUSY, TROUBLED)
    world.advance(after(50))
    early = world.truth(after(20))
    assert 0 < len(early) < len(world.truth(after(50)))
    assert all(task.created_at <= after(20) for task in early)
    stamps = [task.created_at for task in early]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) < len(stamps)  # some share their instant


def test_arrivals_come_at_their_rate_and_end_when_told() -> None:
    world = world_of(rate=20.0)
    assert 900 < len(world.truth(after(50))) < 1100
    world.end_arrivals(after(60))
    until = world.truth(after(60))
    assert world.truth(after(1000)) == until
    assert all(task.ended_by(after(1000)) for task in until)


def test_backlog_lies_before_the_start() -> None:
    world = world_of(backlog_seconds=30.0)
    past = world.truth(START)
    assert 200 < len(past) < 400
    assert all(after(-30) <= task.created_at <= START for task in past)


def test_without_arrivals_there_is_only_what_is_created() -> None:
    world = world_of(rate=0.0)
    assert world.truth(after(10_000)) == []
    made = world.create(NOBODY, after(5), "receipt", "error")
    assert world.page(NOBODY, Query(), after(5)).tasks == (made,)
    assert made.document_type == "receipt"
    assert world.find(NOBODY, made.id, after(100)) == made
    assert made.status_at(after(200)) == "error"


@pytest.mark.parametrize("sort", ["id", "created_at"])
def test_what_has_been_processed_longest_is_still_listed_as_processing(
    sort: Literal["id", "created_at"],
) -> None:
    world = world_of()
    oldest = max(world.truth(after(60)), key=lambda task: task.ended_at - task.created_at)
    now = Micros(oldest.ended_at - 1)
    assert oldest in rows(forwards(world, Query(sort=sort, status="processing"), now))


def test_creating_does_not_shift_the_arrivals() -> None:
    world = world_of(BUSY, TROUBLED)
    made = [world.create(scope, after(second)) for second in (3, 7) for scope in world.scopes]
    arrived = [task for task in world.truth(after(30)) if task not in made]
    assert arrived == world_of(BUSY, TROUBLED).truth(after(30))
    assert len({task.id for task in made}) == 6


def test_creating_keeps_the_order_when_the_clock_steps_back() -> None:
    world = world_of(rate=0.0)
    first = world.create(NOBODY, after(10))
    second = world.create(NOBODY, after(4))
    assert second.created_at == first.created_at


def test_scopes_do_not_see_each_other() -> None:
    world = world_of(BUSY)
    now = after(60)
    seen = {scope: {task.id for task in rows(forwards(world, Query(), now, scope))} for scope in world.scopes}
    assert len(seen) == 3
    assert all(seen.values())
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))
    nobodys = next(iter(seen[NOBODY]))
    assert world.find(world.scopes[1], TaskId(nobodys), now) is None
    assert world.page(world.scopes[1], Query(ids=(TaskId(nobodys),)), now).tasks == ()
    assert world.page(Scope(None), Query(ids=(TaskId(nobodys),)), now).tasks != ()


def test_late_rows_are_found_by_nobody_before_they_are_visible() -> None:
    world = world_of(QUICK, Faults(late=1.0), visibility_scale=1.0)
    task = world.truth(after(10))[0]
    just_before = Micros(task.visible_at - 1)
    assert world.find(NOBODY, task.id, just_before) is None
    assert world.page(NOBODY, Query(ids=(task.id,)), just_before).tasks == ()
    assert world.find(NOBODY, task.id, task.visible_at) == task
    assert world.page(NOBODY, Query(ids=(task.id,)), task.visible_at).tasks == (task,)


@pytest.mark.parametrize("descending", [False, True])
def test_a_one_field_cursor_skips_twins_at_a_pages_edge(descending: bool) -> None:
    faulty = world_of(faults=Faults(one_field_cursor=True), rate=0.0)
    for _ in range(5):
        faulty.create(NOBODY, after(1))
    query = Query(limit=2, descending=descending)
    assert len(rows(forwards(faulty, query, after(2)))) == 2
    by_id = Query(limit=2, descending=descending, sort="id")
    assert len(rows(forwards(faulty, by_id, after(2)))) == 5


def test_an_empty_page_has_no_neighbours() -> None:
    world = world_of(rate=0.0)
    cursor = Cursor(after(1), TaskId("a"))
    assert world.page(NOBODY, Query(), after(1), cursor) == Page((), None, None)

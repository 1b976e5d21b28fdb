"""Which scope goes where, and which tags are left behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import EntityId, Scope
from watcher.state.keys import Keys, shard_of
from watcher.state.layout import Layout, LayoutError, by_tag, moves, refusal, shards_of

NUMBERS = st.integers(1, 9)
SCOPES = st.frozensets(
    st.one_of(st.just(Scope()), st.uuids().map(lambda entity: Scope(EntityId(str(entity))))), max_size=20
)


def tags(keys: tuple[Keys, ...]) -> list[str]:
    return [each.tag for each in keys]


@pytest.mark.parametrize(
    ("path", "retired", "entering"),
    [
        ([1, 4], ["{n}"], ["{n:0}", "{n:1}", "{n:2}", "{n:3}"]),
        ([4, 1], ["{n:0}", "{n:1}", "{n:2}", "{n:3}"], ["{n}"]),
        ([8, 4], ["{n:4}", "{n:5}", "{n:6}", "{n:7}"], []),
        ([4, 8], [], ["{n:4}", "{n:5}", "{n:6}", "{n:7}"]),
        ([1, 2, 1], ["{n:0}", "{n:1}"], ["{n}"]),
        ([4, 3, 4], [], ["{n:3}"]),
        ([1, 3, 2], ["{n}", "{n:2}"], []),
    ],
)
def test_a_tag_that_no_shard_has_any_more_is_retired(
    path: list[int], retired: list[str], entering: list[str]
) -> None:
    layout = Layout("n", path[0])
    for shards in path[1:]:
        begun = layout.begun(shards)
        layout = begun.done()
    assert tags(begun.entering) == entering
    assert tags(layout.retired) == retired
    assert tags(layout.active) == tags(shards_of("n", path[-1]))
    assert layout.upcoming is None


@given(st.lists(NUMBERS, min_size=2, max_size=6))
def test_no_tag_that_ever_had_a_shard_is_lost_from_sight(path: list[int]) -> None:
    layout, ever = Layout("n", path[0]), {keys.tag for keys in shards_of("n", path[0])}
    for shards in path[1:]:
        begun = layout.begun(shards)
        ever |= {keys.tag for keys in begun.target}
        assert {keys.tag for keys in begun.all} == ever
        layout = begun.done()
        assert {*tags(layout.active), *tags(layout.retired)} == ever
        assert not {*tags(layout.active)} & {*tags(layout.retired)}
        for each in (begun, layout):
            assert Layout.decode("n", [value.encode() for value in each.encode()]) == each
    for keys in layout.retired:
        layout = layout.without(keys)
    assert layout == Layout("n", path[-1])


@given(SCOPES, NUMBERS, NUMBERS, st.data())
def test_wherever_scopes_are_found_they_end_where_they_belong(
    scopes: frozenset[Scope], before: int, after: int, data: st.DataObject
) -> None:
    """Also those that an earlier try had moved already."""
    layout = Layout("n", before).begun(after)
    places = {keys.tag: keys for keys in layout.all}
    lying: dict[str, set[Scope]] = {tag: set() for tag in places}
    for scope in scopes:
        moved = data.draw(st.booleans())
        where = layout.target if moved else layout.active
        lying[where[shard_of(scope, len(where))].tag].add(scope)
    for move in moves({places[tag]: there for tag, there in lying.items()}, layout.target):
        lying[move.source.tag].remove(move.scope)
        lying[move.target.tag].add(move.scope)
        assert move.source.tag != move.target.tag
    assert {(tag, scope) for tag, there in lying.items() for scope in there} == {
        (layout.target[shard_of(scope, after)].tag, scope) for scope in scopes
    }


def test_a_tag_is_the_same_tag_in_every_layout() -> None:
    assert list(by_tag([*shards_of("n", 3), *shards_of("n", 4)])) == ["{n:0}", "{n:1}", "{n:2}", "{n:3}"]
    assert Layout("n", 8).begun(6).done() == Layout("n", 6, None, (Keys("n", 6, 7), Keys("n", 7, 8)))


@pytest.mark.parametrize(
    ("layout", "wanted", "words"),
    [
        (Layout("n", 4), 4, None),
        (Layout("n", 4), 1, ["over 4 shards", "SHARDS says 1", "reshard --to 1`", "SHARDS=4"]),
        (Layout("n", 4, 1), 4, ["from 4 to 1 shards", "reshard --to 1`"]),
        (Layout("n", 4, 1), 1, ["from 4 to 1 shards", "reshard --to 1`"]),
    ],
)
def test_another_number_of_shards_is_refused_with_what_to_do(
    layout: Layout, wanted: int, words: list[str] | None
) -> None:
    why = refusal(layout, wanted)
    assert (why is None) == (words is None)
    assert all(word in (why or "") for word in words or [])


@pytest.mark.parametrize(
    "values", [[b"", b"", b""], [b"0", b"", b""], [b"2", b"-1", b""], [b"2", b"", b"x"], [b"\xff", b"", b""]]
)
def test_what_is_no_layout_is_an_error(values: list[bytes]) -> None:
    with pytest.raises(LayoutError):
        Layout.decode("n", values)

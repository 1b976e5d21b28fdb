"""Which endpoints an event is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhooks.builders import endpoint, event, fields
from watcher.events.envelope import EventFormatError
from watcher.webhooks.routing import Router

ENTITY = "9d2b4c8f-0000-4000-8000-000000000001"
OTHER = "9d2b4c8f-0000-4000-8000-000000000002"
ENDPOINTS = (
    endpoint("default"),
    endpoint("errors", events=("ocr_task.error",)),
    endpoint("everything", events=("*",)),
    endpoint("one-entity", entities=(ENTITY,)),
    endpoint("receipts", document_types=("receipt",)),
)


@pytest.mark.parametrize(
    ("status", "entity", "document_type", "names"),
    [
        ("success", None, "invoice", {"default", "everything"}),
        ("error", None, "invoice", {"default", "errors", "everything"}),
        ("processing", None, "invoice", {"everything"}),
        ("success", ENTITY, "invoice", {"default", "everything", "one-entity"}),
        ("success", OTHER, "receipt", {"default", "everything", "receipts"}),
        ("success", None, None, {"default", "everything"}),
    ],
)
def test_an_event_is_for_those_that_want_it(
    status: str, entity: str | None, document_type: str | None, names: set[str]
) -> None:
    some = event(status=status, entity=entity, document_type=document_type)
    router = Router(ENDPOINTS)
    for _ in range(2):  # the second answer is remembered
        routed = router.route("5-1", fields(some))
        assert routed.entry_id == "5-1"
        assert {ENDPOINTS[position].name for position in routed.endpoints} == names


@given(
    st.sampled_from(["success", "error", "processing", "odd"]),
    st.sampled_from([None, ENTITY, OTHER]),
    st.sampled_from([None, "invoice", "receipt"]),
)
def test_routing_is_what_the_endpoints_say(
    status: str, entity: str | None, document_type: str | None
) -> None:
    some = event(status=status, entity=entity, document_type=document_type)
    wanted = tuple(
        position for position, one in enumerate(ENDPOINTS) if one.matches(some.type, entity, document_type)
    )
    assert Router(ENDPOINTS).route("1-0", fields(some)).endpoints == wanted


GOOD = fields(event())


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {b"hello": b"world"},
        *(
            {name: value for name, value in GOOD.items() if name != gone}
            for gone in (b"id", b"type", b"data")
        ),
        {**GOOD, b"data": b"not json"},
        {**GOOD, b"data": b"[]"},
        {**GOOD, b"data": b'{"entity_id": 5, "document_type": null}'},
        {**GOOD, b"data": b'{"document_type": null}'},
        {**GOOD, b"type": b"\xff"},
    ],
)
def test_what_the_watcher_did_not_write_is_told_apart(broken: dict[bytes, bytes]) -> None:
    with pytest.raises(EventFormatError):
        Router(ENDPOINTS).route("1-0", broken)


def test_the_task_is_named_for_those_that_keep_its_order() -> None:
    router = Router((endpoint("any"), endpoint("ordered", order="task", events=("ocr_task.error",))))
    assert router.route("1-0", fields(event())).task == ""
    nobodys, somebodys = (fields(event(status="error", entity=entity)) for entity in (None, ENTITY))
    subject = nobodys[b"subject"].decode()
    assert router.route("1-0", nobodys).task == f"-/{subject}"
    assert router.route("1-0", somebodys).task == f"{ENTITY}/{subject}"


@given(st.binary(), st.binary())
def test_whatever_a_subject_is_made_of_the_task_is_one_word_of_its_own(one: bytes, other: bytes) -> None:
    router = Router((endpoint(order="task"),))
    named, another = (router.route("1-0", {**GOOD, b"subject": each}).task for each in (one, other))
    assert (named == another) == (one == other)
    assert named.isascii()
    assert named.isprintable()
    assert not set(named) & set(" >")


def test_as_scripts_take_it_an_entry_is_its_id_and_the_task_if_that_matters() -> None:
    some = event(7, entity=ENTITY)
    ordered = Router((endpoint(order="task"),)).route("5-0", fields(some)).task
    assert ordered
    assert Router((endpoint(),)).word("5-0", fields(some)) == "5-0"
    assert Router((endpoint(order="task"),)).word("5-0", fields(some)) == f"5-0={ordered}"
    assert Router((endpoint(events=("ocr_task.error",)),)).word("5-0", fields(some)) is None
    assert Router((endpoint(),)).word("5-0", {b"id": b"1"}) is None, "nor is it the watcher's"

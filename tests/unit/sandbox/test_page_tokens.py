from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.sandbox.page_tokens import BadPageToken, seal, unseal


@dataclass(frozen=True)
class Place:
    number: int
    name: str | None


@dataclass(frozen=True)
class OtherPlace:
    number: int
    name: str | None


@given(st.integers(-(2**40), 2**40), st.one_of(st.none(), st.text()))
def test_a_token_gives_back_what_it_was_made_of(number: int, name: str | None) -> None:
    token = seal(1, Place(number, name))
    assert set(token) <= set(ascii_letters + digits + "-_")
    assert unseal(1, token, Place) == Place(number, name)


@given(st.text(max_size=40))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadPageToken):
        unseal(1, text, Place)


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_a_changed_token_is_refused(at: int) -> None:
    token = seal(1, Place(1, "somewhere"))
    changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    with pytest.raises(BadPageToken):
        unseal(1, changed, Place)


def test_a_token_of_another_listing_or_world_is_refused() -> None:
    token = seal(1, Place(1, None))
    with pytest.raises(BadPageToken):
        unseal(1, token, OtherPlace)
    with pytest.raises(BadPageToken):
        unseal(2, token, Place)

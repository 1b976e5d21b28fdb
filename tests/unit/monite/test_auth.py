import asyncio
import json

import httpx
import pytest

from tests.fakes import settle
from tests.unit.monite.scripted import Answer, ScriptedApi, answer, granted
from watcher.monite.auth import ClientCredentials, StaticToken
from watcher.monite.errors import Rejected, Unauthorized, Unavailable


def credentials(*answers: Answer) -> tuple[ScriptedApi, ClientCredentials]:
    api = ScriptedApi(*answers)
    return api, ClientCredentials(api.exchange, "client-1", "s3cr3t", api.clock)


async def test_a_static_token_is_all_there_is() -> None:
    auth = StaticToken("t0ken")
    assert await auth.token() == "t0ken"
    assert auth.discard("t0ken") is False
    assert "t0ken" not in repr(auth)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nx: y", "ä"])
def test_a_static_token_must_fit_into_a_header(token: str) -> None:
    with pytest.raises(ValueError, match="one line") as caught:
        StaticToken(token)
    assert not token or repr(token) not in str(caught.value)


async def test_credentials_are_exchanged_for_a_token() -> None:
    api, auth = credentials(granted("t-1"))
    assert await auth.token() == "t-1"
    (request,) = api.requests
    assert (request.method, request.url.path) == ("POST", "/v1/auth/token")
    assert json.loads(request.content) == {
        "grant_type": "client_credentials",
        "client_id": "client-1",
        "client_secret": "s3cr3t",
    }
    assert "s3cr3t" not in repr(auth)


async def test_a_token_counts_against_the_budget() -> None:
    api, auth = credentials(granted("t-1"))
    before = api.budget.remaining()
    await auth.token()
    assert api.budget.remaining() == before - 1


@pytest.mark.parametrize(
    ("lifetime", "renewed_after"), [(3600, 3540), (300, 240), (60, 48), (5, 4), (1, 0.8)]
)
async def test_a_token_is_renewed_ahead_of_its_end(lifetime: float, renewed_after: float) -> None:
    api, auth = credentials(granted("t-1", lifetime), granted("t-2", lifetime))
    await auth.token()
    api.clock.move(renewed_after - 0.01)
    assert await auth.token() == "t-1"
    api.clock.move(0.02)
    assert await auth.token() == "t-2"
    assert len(api.requests) == 2


async def test_however_many_ask_one_request_is_made() -> None:
    async def slow(_: httpx.Request) -> httpx.Response:
        await settle()
        return granted("t-1")

    api, auth = credentials(slow)
    assert await asyncio.gather(*[auth.token() for _ in range(20)]) == ["t-1"] * 20
    assert len(api.requests) == 1


async def test_those_who_waited_share_the_failure_and_the_next_one_tries_again() -> None:
    async def failing(_: httpx.Request) -> httpx.Response:
        await settle()
        return answer(500)

    api, auth = credentials(failing, granted("t-1"))
    outcomes = await asyncio.gather(*[auth.token() for _ in range(20)], return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert len(api.requests) == 1
    assert await auth.token() == "t-1"


async def test_one_that_is_cancelled_leaves_the_others_their_token() -> None:
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return granted("lost")

    api, auth = credentials(slow, granted("t-1"))
    first, second, third = (asyncio.create_task(auth.token()) for _ in range(3))
    await settle()
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert first.cancelled()
    assert second.cancelled()
    assert await third == "t-1"
    assert len(api.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_refused_credentials(status: int) -> None:
    api, auth = credentials(answer(status, {"error": {"message": "no client client-1 with s3cr3t"}}))
    with pytest.raises(Unauthorized, match=r"no client client-1 with \[hidden\]"):
        await auth.token()
    assert api.errors() == {"unauthorized": 1}


async def test_a_wrong_base_url_is_not_taken_for_wrong_credentials() -> None:
    _, auth = credentials(answer(404))
    with pytest.raises(Rejected):
        await auth.token()


async def test_a_rejected_token_is_forgotten_unless_another_has_come_since() -> None:
    api, auth = credentials(granted("t-1"), granted("t-2"))
    await auth.token()
    assert auth.discard("t-1") is True
    assert await auth.token() == "t-2"
    assert auth.discard("t-1") is True
    assert await auth.token() == "t-2"
    assert len(api.requests) == 2


async def test_while_the_old_token_is_good_a_failed_renewal_does_no_harm() -> None:
    api, auth = credentials(granted("t-1", 100), answer(500), answer(500), granted("t-2", 100))
    await auth.token()
    api.clock.move(80)
    assert await auth.token() == "t-1"  # renewal failed; 20 s are left, so the next try comes after 10
    api.clock.move(9)
    assert await auth.token() == "t-1"
    assert len(api.requests) == 2
    api.clock.move(2)
    assert await auth.token() == "t-1"
    api.clock.move(10)
    assert await auth.token() == "t-2"


async def test_once_the_old_token_has_ended_a_failed_renewal_is_told() -> None:
    api, auth = credentials(granted("t-1", 100), answer(500))
    await auth.token()
    api.clock.move(100)
    with pytest.raises(Unavailable):
        await auth.token()


async def test_refused_credentials_are_told_although_the_old_token_is_good() -> None:
    api, auth = credentials(granted("t-1", 100), answer(401))
    await auth.token()
    api.clock.move(90)
    with pytest.raises(Unauthorized):
        await auth.token()

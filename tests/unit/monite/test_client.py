import pytest

from tests.unit.monite.scripted import Answer, ScriptedApi, answer, granted
from watcher.model import EntityId, Scope, TaskId
from watcher.monite.auth import ClientCredentials, StaticToken
from watcher.monite.client import MoniteClient
from watcher.monite.errors import (
    InvalidPage,
    MoniteError,
    PageTokenRejected,
    RateLimited,
    Rejected,
    ScopeRejected,
    Unauthorized,
)
from watcher.monite.query import EntityQuery, TaskQuery

ROW = {
    "id": "t-1",
    "status": "processing",
    "created_at": "2026-11-23T04:00:00Z",
    "updated_at": "2026-11-23T04:00:00Z",
}
EXPIRED = {"error": {"message": "The token has been expired."}}
ALL = Scope()
ENTITY = Scope(EntityId("e-1"))


def fixed(*answers: Answer) -> tuple[ScriptedApi, MoniteClient]:
    api = ScriptedApi(*answers)
    return api, MoniteClient(api.exchange, StaticToken("t0ken"))


def renewing(*answers: Answer) -> tuple[ScriptedApi, MoniteClient]:
    api = ScriptedApi(*answers)
    return api, MoniteClient(api.exchange, ClientCredentials(api.exchange, "id", "s3cr3t", api.clock))


async def test_list_tasks() -> None:
    api, client = fixed(answer(json={"data": [ROW], "next_pagination_token": "n"}))
    page = await client.list_tasks(ENTITY, TaskQuery(status="processing"))
    assert [task.id for task in page.tasks] == ["t-1"]
    assert page.next_token == "n"
    (request,) = api.requests
    assert request.url.path == "/v1/ocr_tasks"
    assert request.url.query == b"limit=100&status=processing"
    assert request.headers["x-monite-entity-id"] == "e-1"
    assert request.headers["authorization"] == "Bearer t0ken"


async def test_the_next_page_is_asked_for_by_its_token_alone() -> None:
    api, client = fixed(answer())
    await client.list_tasks(ALL, TaskQuery(status="processing").page("n&=+"))
    assert api.requests[0].url.query == b"pagination_token=n%26%3D%2B"


async def test_a_page_that_names_itself_is_invalid_and_counted() -> None:
    api, client = fixed(answer(json={"data": [], "next_pagination_token": "n"}))
    with pytest.raises(InvalidPage):
        await client.list_tasks(ALL, TaskQuery(pagination_token="n"))
    assert api.errors() == {"invalid_page": 1}


async def test_get_task() -> None:
    api, client = fixed(answer(json=ROW), answer(404), answer(404, {"detail": "Not Found"}))
    task = await client.get_task(ALL, TaskId("t-1"))
    assert task is not None
    assert task.status == "processing"
    assert api.paths == ["/ocr_tasks/t-1"]
    assert await client.get_task(ALL, TaskId("t-1")) is None
    assert await client.get_task(ENTITY, TaskId("t-1")) is None
    assert api.errors() == {}


async def test_an_id_stays_one_step_of_the_path() -> None:
    api, client = fixed(answer(404))
    assert await client.get_task(ALL, TaskId("a/../b?c#d%2F")) is None
    assert api.requests[0].url.raw_path == b"/v1/ocr_tasks/a%2F..%2Fb%3Fc%23d%252F"


@pytest.mark.parametrize(("status", "error"), [(403, ScopeRejected), (400, Rejected), (429, RateLimited)])
async def test_only_a_404_means_that_a_task_is_not_there(status: int, error: type[MoniteError]) -> None:
    _, client = fixed(answer(status))
    with pytest.raises(error):
        await client.get_task(ENTITY, TaskId("t-1"))


async def test_every_active_entity_over_all_pages() -> None:
    api, client = fixed(
        answer(json={"data": [{"id": "e1", "status": "active"}, {"id": "e2"}], "next_pagination_token": "n"}),
        answer(json={"data": [], "next_pagination_token": "m"}),
        answer(json={"data": [{"id": "e3", "status": "inactive"}, {"id": "e4", "status": "active"}]}),
    )
    assert [entity.id async for entity in client.active_entities()] == ["e1", "e2", "e4"]
    assert [request.url.query for request in api.requests] == [
        b"limit=100&sort=created_at&status=active",
        b"pagination_token=n",
        b"pagination_token=m",
    ]
    assert all("x-monite-entity-id" not in request.headers for request in api.requests)


async def test_an_entity_list_that_breaks_off_says_so() -> None:
    _, client = fixed(answer(json={"data": [{"id": "e1"}], "next_pagination_token": "n"}), answer(422))
    entities = client.active_entities()
    assert (await anext(entities)).id == "e1"
    with pytest.raises(PageTokenRejected):
        await anext(entities)


async def test_list_entities_takes_a_query() -> None:
    api, client = fixed(answer(json={"data": [{"id": "e1", "status": "deleted"}]}))
    page = await client.list_entities(EntityQuery(id_in=(EntityId("e1"),)))
    assert [(entity.id, entity.status) for entity in page.entities] == [("e1", "deleted")]
    assert api.requests[0].url.query == b"limit=100&id__in=e1"


@pytest.mark.parametrize("refusal", [answer(401), answer(400, EXPIRED)])
async def test_a_token_that_has_run_out_is_renewed_once(refusal: Answer) -> None:
    api, client = renewing(granted("t-1"), refusal, granted("t-2"), answer(json={"data": [ROW]}))
    assert len((await client.list_tasks(ALL, TaskQuery())).tasks) == 1
    assert api.paths == ["/auth/token", "/ocr_tasks", "/auth/token", "/ocr_tasks"]
    assert [api.tokens[1], api.tokens[3]] == ["Bearer t-1", "Bearer t-2"]


async def test_a_new_token_that_is_refused_as_well_is_not_renewed_again() -> None:
    api, client = renewing(granted("t-1"), answer(401), granted("t-2"), answer(401))
    with pytest.raises(Unauthorized):
        await client.list_tasks(ALL, TaskQuery())
    assert len(api.requests) == 4
    assert api.errors() == {"unauthorized": 2}


async def test_a_static_token_that_is_refused_is_not_sent_again() -> None:
    api, client = fixed(answer(401))
    with pytest.raises(Unauthorized):
        await client.list_tasks(ALL, TaskQuery())
    assert len(api.requests) == 1


async def test_credentials_that_are_refused_on_renewal() -> None:
    api, client = renewing(granted("t-1"), answer(401), answer(401))
    with pytest.raises(Unauthorized, match="/auth/token"):
        await client.list_tasks(ALL, TaskQuery())
    assert api.paths == ["/auth/token", "/ocr_tasks", "/auth/token"]


async def test_another_failure_after_renewal_is_told_as_what_it_is() -> None:
    _, client = renewing(granted("t-1"), answer(401), granted("t-2"), answer(429, retry_after="3"))
    with pytest.raises(RateLimited):
        await client.list_tasks(ALL, TaskQuery())


async def test_a_token_renewed_by_somebody_else_meanwhile_is_used() -> None:
    api, client = renewing(granted("t-1"), answer(401), granted("t-2"), answer(), answer(401), answer())
    await client.list_tasks(ALL, TaskQuery())
    # A request that had been sent with the first token comes back only now: no third token is fetched.
    auth = client._auth
    given = iter(["t-1"])

    class Late:
        async def token(self) -> str:
            return next(given, None) or await auth.token()

        def discard(self, rejected: str) -> bool:
            return auth.discard(rejected)

    await MoniteClient(api.exchange, Late()).list_tasks(ALL, TaskQuery())
    assert api.tokens[-2:] == ["Bearer t-1", "Bearer t-2"]
    assert api.paths.count("/auth/token") == 2


async def test_an_expired_page_token_is_not_taken_for_an_expired_access_token_for_ever() -> None:
    """ "The token has been expired." does not say which: with a new access token it is the page's."""
    query = TaskQuery(pagination_token="p4ge")
    _, client = renewing(granted("t-1"), answer(400, EXPIRED), granted("t-2"), answer(400, EXPIRED))
    with pytest.raises(PageTokenRejected) as caught:
        await client.list_tasks(ALL, query)
    assert caught.value.status == 400
    _, client = fixed(answer(400, EXPIRED))
    with pytest.raises(PageTokenRejected):
        await client.list_tasks(ALL, query)
    _, client = fixed(answer(401, EXPIRED))
    with pytest.raises(Unauthorized):
        await client.list_tasks(ALL, query)


async def test_authenticate_fetches_a_token_where_there_are_credentials() -> None:
    api, client = renewing(granted("t-1"))
    await client.authenticate()
    assert api.paths == ["/auth/token"]
    api, client = fixed()
    await client.authenticate()
    assert api.paths == []


async def test_the_server_s_time() -> None:
    _, client = fixed(answer(date="Mon, 23 Nov 2026 04:00:00 GMT"))
    assert client.server_clock.now() is None
    await client.list_tasks(ALL, TaskQuery())
    assert client.server_clock.now() == 1_795_406_400_000_000

"""``watcher endpoints`` and ``watcher deadletters`` beside a running daemon."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from pathlib import Path
from secrets import token_bytes

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from watcher.app import GRACE
from watcher.clock import SystemClock
from watcher.model import Scope, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.keys import shard_of

from .harness import (
    eventually,
    hang,
    listening,
    new_secret,
    running,
    said,
    settings_for,
    until_ready,
    webhook,
)
from .test_commands import command


async def test_an_endpoint_is_tried_paused_resumed_and_sent_the_past_again(
    directory: Path, sandbox: Sandbox
) -> None:
    secret, headers = new_secret(), []

    async def note(request: web.Request) -> web.Response:
        headers.append(dict(request.headers))
        return web.Response(text="thank you")

    async with listening(note) as endpoint:
        private_key = "whsk_" + base64.b64encode(token_bytes(32)).decode()
        hooks = json.dumps([{**webhook("shop", endpoint.url, secret), "secrets": [secret, private_key]}])
        settings = settings_for(sandbox.base_url, directory, WATCHER_WEBHOOKS=hooks)

        code, out, err = await command(settings, "endpoints", "test", "shop")
        assert (code, "success: HTTP 200 after" in out, "thank you" in out) == (0, True, True), err
        assert Webhook(secret).verify(endpoint.bodies[0], headers[0])["type"] == "watcher.test"
        code, _, err = await command(settings, "endpoints", "test", "other")
        assert (code, err) == (2, "NAME: no endpoint is called other; there are: shop\n")

        async with running(settings, directory) as daemon:
            await until_ready(daemon)

            async def delivered() -> bool | None:
                return True if len(endpoint.ids) > 5 else None

            await eventually(delivered, "nothing was delivered")
            code, out, _ = await command(settings, "endpoints", "pause", "shop")
            assert (code, "is paused" in out) == (0, True)
            code, out, _ = await command(settings, "endpoints", "list")
            assert (code, "paused (by hand) since" in out, secret in out) == (0, True, False)
            assert "shop is verified with whpk_" in out
            assert private_key not in out

            async def queued() -> bool | None:
                _, out, _ = await command(settings, "endpoints", "list", "--json")
                return True if json.loads(out)["shop"]["depth"] > 3 else None

            await eventually(queued, "nothing waits")
            sent = len(endpoint.ids)
            code, out, _ = await command(settings, "endpoints", "resume", "shop")
            assert (code, "shop goes on" in out) == (0, True)

            async def caught_up() -> bool | None:
                return True if len(endpoint.ids) > sent + 3 else None

            await eventually(caught_up, "it did not go on")
            assert len(set(endpoint.ids)) == len(endpoint.ids), "none twice so far"

            first = endpoint.ids[1]
            code, out, err = await command(settings, "endpoints", "replay", "shop", "--from", "2020-01-01")
            assert (code, "are delivered to shop again" in out) == (0, True), err

            async def again() -> bool | None:
                return True if endpoint.ids.count(first) == 2 else None

            await eventually(again, "the past was not sent again")
            code, _, err = await command(settings, "endpoints", "replay", "shop", "--from", "soon")
            assert (code, "--from: 'soon' is not a time" in err) == (2, True)
            code, _, err = await command(settings, "endpoints", "drop", "shop", "--yes")
            assert (code, "is configured" in err) == (2, True)
            rest = {name: value for name, value in settings.items() if name != "WATCHER_WEBHOOKS"}
            code, out, err = await command(rest, "endpoints", "drop", "shop", "--yes")
            assert (code, "forgot shop" in out) == (0, True), err


async def test_why_no_answer_came_is_said_in_words(directory: Path) -> None:
    hooks = json.dumps([webhook("shop", "http://127.0.0.1:1/a-private-path", new_secret())])
    settings = settings_for("http://127.0.0.1:9", directory, WATCHER_WEBHOOKS=hooks)
    code, out, err = await command(settings, "endpoints", "test", "shop")
    first, second = out.splitlines()
    assert (code, err, "a-private-path" in out) == (1, "", False)
    assert first.startswith("connect: no answer after")
    assert second.startswith("127.0.0.1:1 takes no connection (Connection refused); see that it runs")


async def test_what_a_receiver_answers_does_nothing_to_the_terminal(directory: Path) -> None:
    text = "line\r\nsecond \x1b[2J\x1b]0;title\x07 \x9b31m \u202etxt.exe \u00e9\ttab"

    async def odd(_: web.Request) -> web.Response:
        return web.Response(body=text.encode())

    async with listening(odd) as endpoint:
        hooks = json.dumps([webhook("shop", endpoint.url, new_secret())])
        settings = settings_for("http://127.0.0.1:9", directory, WATCHER_WEBHOOKS=hooks)
        code, out, _ = await command(settings, "endpoints", "test", "shop")
    shown = "line\nsecond \\x1b[2J\\x1b]0;title\\x07 \\x9b31m \\u202etxt.exe \u00e9\ttab\n"
    assert (code, out.partition("\n")[2]) == (0, shown)


async def test_dead_letters_are_listed_retried_and_dropped(directory: Path, sandbox: Sandbox) -> None:
    broken, odd = True, "out of \x9b31m order\x85"

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=500, text=odd) if broken else web.Response()

    async with listening(answer) as endpoint:
        hooks = json.dumps([webhook("shop", endpoint.url, new_secret(), retry_schedule=[0])])
        settings = settings_for(sandbox.base_url, directory, WATCHER_WEBHOOKS=hooks)
        async with running(settings, directory) as daemon:
            await until_ready(daemon)

            async def two() -> list[dict[str, object]] | None:
                _, out, _ = await command(settings, "deadletters", "list", "--json")
                assert out.isascii(), "what a receiver answers does nothing to the terminal"
                found = [json.loads(line) for line in out.splitlines()]
                return found if len(found) > 1 else None

            one, other, *_ = await eventually(two, "nothing died")
            assert (one["reason"], one["answer"], one["attempts"]) == ("http_5xx", odd, 1)
            code, out, _ = await command(settings, "deadletters", "list", "--reason", "dns")
            assert (code, out) == (0, "there are none\n")
            code, _, err = await command(settings, "deadletters", "list", "--endpoint", "other")
            assert (code, "none is called other" in err) == (2, True)

            code, out, err = await command(settings, "deadletters", "drop", str(one["id"]), "1-1", "--yes")
            assert (code, out, err) == (1, "", "1-1: no such dead letter; nothing was done\n")
            broken = False
            sent = len(endpoint.ids)
            code, out, err = await command(settings, "deadletters", "retry", str(one["id"]), "--yes")
            assert (code, out) == (0, "1 are delivered again\n"), err
            # After so many failures it is held for a while; this ends the wait.
            await command(settings, "endpoints", "resume", "shop")

            async def arrived() -> bool | None:
                return True if one["event_id"] in endpoint.ids[sent:] else None

            await eventually(arrived, "it was not delivered after all")
            code, out, _ = await command(settings, "deadletters", "drop", str(other["id"]), "--yes")
            assert (code, out) == (0, "1 dropped\n")
            _, out, _ = await command(settings, "deadletters", "list", str(one["id"]), str(other["id"]))
            assert out == "there are none\n"


async def test_endpoints_are_read_again_on_sighup_and_nothing_is_dropped(
    directory: Path, sandbox: Sandbox
) -> None:
    secret, config = new_secret(), directory / "watcher.toml"

    def write(*places: tuple[str, str]) -> None:
        config.write_text(
            "".join(
                f'[[webhooks]]\nname = "{name}"\nurl = "{url}"\nsecrets = ["{secret}"]\n'
                for name, url in places
            )
        )

    async with listening() as one, listening() as two:
        write(("one", one.url))
        settings = settings_for(sandbox.base_url, directory / "data", WATCHER_CONFIG=str(config))
        async with running(settings, directory) as daemon:
            await until_ready(daemon)

            async def more(ids: list[str], than: int) -> None:
                async def look() -> bool | None:
                    return True if len(ids) > than else None

                await eventually(look, "nothing was delivered")

            async def told(event: str) -> dict[str, object]:
                async def look() -> dict[str, object] | None:
                    return next(iter(said(daemon, event)), None)

                return await eventually(look, f"{event} was not said")

            await more(one.ids, 3)
            write(("one", one.url), ("two", two.url))
            daemon.signal(signal.SIGHUP)
            await told("endpoints.reloaded")
            await more(two.ids, 3)
            config.write_text("[[webhooks]]\nname = 5\n")
            daemon.signal(signal.SIGHUP)
            assert "WEBHOOKS" in str((await told("settings.refused"))["fault"])
            await more(two.ids, len(two.ids) + 3)
            assert len(set(one.ids)) == len(one.ids)
            assert set(two.ids) <= set(one.ids) | set(two.ids[-20:]), "each got what the other got since"


@pytest.mark.slow
async def test_a_stop_takes_its_grace_once_and_not_for_each_shard(directory: Path) -> None:
    """One endpoint hangs in every shard. What the others have is not sent on meanwhile."""
    shards, clock = 3, SystemClock()
    world = World(WorldSettings(rate=20, lifetime_scale=0.1, entities=20), from_seconds(clock.time()))
    async with Sandbox(world, clock) as sandbox, listening(hang) as bad, listening() as good:
        hooks = [
            webhook("bad", bad.url, new_secret(), concurrency=500, timeout=120),
            webhook("good", good.url, new_secret()),
        ]
        settings = settings_for(
            sandbox.base_url,
            directory,
            WATCHER_WEBHOOKS=json.dumps(hooks),
            WATCHER_REDIS__SHARDS=str(shards),
            WATCHER_MONITE__ENTITIES="all",
        )

        async def all_hang() -> bool | None:
            scopes = {Scope(json.loads(body)["data"]["entity_id"]) for body in bad.bodies}
            return True if len({shard_of(scope, shards) for scope in scopes}) == shards else None

        async with running(settings, directory) as daemon:
            await eventually(all_hang, "not every shard had an event")
            began = clock.monotonic()
            daemon.signal(signal.SIGTERM)
            stopping = asyncio.create_task(daemon.wait())
            await asyncio.wait({stopping}, timeout=GRACE / 2)
            sent = len(good.ids)
            assert not stopping.done(), "one hangs"
            assert await stopping == 0
            assert clock.monotonic() - began < 2 * GRACE
            assert len(good.ids) == sent


async def test_an_endpoint_that_does_not_permit_it_is_sent_nothing(directory: Path, sandbox: Sandbox) -> None:
    why = "it answers OPTIONS with 405"
    async with listening() as endpoint:
        hooks = json.dumps([webhook("shop", endpoint.url, new_secret(), origin="events.example.com")])
        settings = settings_for(sandbox.base_url, directory, WATCHER_WEBHOOKS=hooks)

        code, out, _ = await command(settings, "endpoints", "test", "shop")
        assert (code, out) == (1, f"not permitted, so nothing was sent: {why}\n")
        code, out, _ = await command(settings, "check")
        assert (code, f"does not permit webhooks from events.example.com: {why}; have" in out) == (1, True)

        async with running(settings, directory) as daemon:
            await until_ready(daemon)

            async def waits() -> bool | None:
                _, out, _ = await command(settings, "endpoints", "list", "--json")
                found = json.loads(out)["shop"]
                return True if found["depth"] > 3 and found["refused"] == why else None

            await eventually(waits, "nothing waits for a permission")
            code, out, _ = await command(settings, "endpoints", "list")
            assert (code, f"not permitted: {why}" in out) == (0, True)
        assert endpoint.ids == []

"""``watcher endpoints`` and ``watcher deadletters`` beside a running daemon."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from secrets import token_bytes

from aiohttp import web
from standardwebhooks import Webhook

from watcher.sandbox import Sandbox

from .harness import eventually, listening, new_secret, running, settings_for, until_ready, webhook
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


async def test_dead_letters_are_listed_retried_and_dropped(directory: Path, sandbox: Sandbox) -> None:
    broken = True

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=500, text="out of order") if broken else web.Response()

    async with listening(answer) as endpoint:
        hooks = json.dumps([webhook("shop", endpoint.url, new_secret(), retry_schedule=[0])])
        settings = settings_for(sandbox.base_url, directory, WATCHER_WEBHOOKS=hooks)
        async with running(settings, directory) as daemon:
            await until_ready(daemon)

            async def two() -> list[dict[str, object]] | None:
                _, out, _ = await command(settings, "deadletters", "list", "--json")
                found = [json.loads(line) for line in out.splitlines()]
                return found if len(found) > 1 else None

            one, other, *_ = await eventually(two, "nothing died")
            assert (one["reason"], one["answer"], one["attempts"]) == ("http_5xx", "out of order", 1)
            code, out, _ = await command(settings, "deadletters", "list", "--reason", "dns")
            assert (code, out) == (0, "there are none\n")
            code, _, err = await command(settings, "deadletters", "list", "--endpoint", "other")
            assert (code, "none is called other" in err) == (2, True)

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

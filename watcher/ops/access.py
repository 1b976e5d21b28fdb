"""Who may do what at the operators' listener, and how a refusal is said."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web
from pydantic import SecretStr

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Access:
    """``loopback``: only this machine can reach the listener. ``token``: what callers prove themselves with."""

    loopback: bool
    token: SecretStr | None = None

    def check(self, request: web.Request) -> None:
        """See that a request may change state, or see payloads: the one rule for all routes that do or show either.

        On loopback everybody may, whether a token was set or not; elsewhere whoever has the token. What proves by
        itself who sent it, as a signed webhook does, need not come here.

        Raises:
            web.HTTPUnauthorized: it may not.
        """
        if self.loopback:
            return
        if self.token is None:
            raise unauthorized("WATCHER_HTTP__TOKEN is not set, and this listener is not on loopback")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = self.token.get_secret_value().encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode("utf-8", "replace"), right
        ):
            raise unauthorized("send WATCHER_HTTP__TOKEN as a bearer token")


def unauthorized(reason: str) -> web.HTTPUnauthorized:
    """A 401 with its reason."""
    return web.HTTPUnauthorized(text=reason, headers={"www-authenticate": "Bearer"})


@web.middleware
async def errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every refusal as ``{"error": "..."}``, whoever raised it, and every fault of ours in the log."""
    try:
        return await handler(request)
    except web.HTTPError as error:
        kept = {name: error.headers[name] for name in ("allow", "www-authenticate") if name in error.headers}
        return web.json_response({"error": error.text}, status=error.status, headers=kept)
    except (web.HTTPException, ConnectionError):
        raise  # no fault of anybody's: a redirect, or a caller that has gone
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return web.json_response({"error": "a fault of the watcher, which its log tells"}, status=500)

"""A client of the API as the settings describe it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from watcher.clock import Clock
from watcher.metrics import Metrics
from watcher.monite.auth import ClientCredentials, StaticToken
from watcher.monite.circuit import Circuit
from watcher.monite.client import Auth, MoniteClient
from watcher.monite.exchange import Exchange, RequestBudget
from watcher.monite.http import open_http
from watcher.settings import MoniteSettings


@asynccontextmanager
async def open_api(
    settings: MoniteSettings, budget: RequestBudget, clock: Clock, metrics: Metrics
) -> AsyncIterator[MoniteClient]:
    """A client whose connections are closed at the end. The settings must have credentials."""
    async with open_http(settings.base_url, settings.timeout) as http:
        exchange = Exchange(
            http,
            budget,
            Circuit(clock, metrics, random.random),
            clock,
            metrics,
            api_version=settings.api_version,
            timeout_seconds=settings.timeout,
        )
        yield MoniteClient(exchange, _auth(settings, exchange, clock))


def _auth(settings: MoniteSettings, exchange: Exchange, clock: Clock) -> Auth:
    if settings.token is not None:
        return StaticToken(settings.token.get_secret_value())
    if settings.client_id is None or settings.client_secret is None:
        raise RuntimeError("settings without credentials must have been refused")
    return ClientCredentials(exchange, settings.client_id, settings.client_secret.get_secret_value(), clock)

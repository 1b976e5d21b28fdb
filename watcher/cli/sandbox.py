"""``watcher sandbox``: the simulated OCR API alone, for local development against any client."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from watcher.clock import SystemClock
from watcher.errors import ConfigurationError
from watcher.model import from_seconds
from watcher.sandbox import NO_FAULTS, USUAL_FAULTS, Faults, Sandbox, Served, World, WorldSettings, with_fault

_BACKLOG_SECONDS = 60.0
"""Arrivals before the start, so that the first listing has something to show."""
MOST_RATE = 1000
"""Tasks a second at most: those of the backlog alone then keep the first listing waiting for seconds."""


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one and prints it.")] = 9411,
    rate: Annotated[float, typer.Option(help="Tasks that arrive in a second, on average.")] = 1.0,
    faults: Annotated[bool, typer.Option("--faults", help="Let the usual faults happen.")] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Set one fault, such as stale=0.2. May be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same tasks and faults.")] = 1,
    lifetime_scale: Annotated[
        float, typer.Option(help="Multiplies the 10 to 15 seconds that recognition takes.")
    ] = 1.0,
    requests_per_second: Annotated[
        int, typer.Option(help="Requests that each client may send in a second; 0 is no limit.")
    ] = 30,
    token_seconds: Annotated[int, typer.Option(help="How long a token lasts that it gives.")] = 1800,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print every request.")] = False,
) -> None:
    """Serve a simulated OCR API for local development.

    It takes any client credentials, and any bearer token that is not empty, expired or `invalid`.
    """
    wrong = _wrong(port, rate, requests_per_second, token_seconds)
    settings = WorldSettings(backlog_seconds=_BACKLOG_SECONDS, seed=seed)
    try:
        settings = WorldSettings(
            backlog_seconds=_BACKLOG_SECONDS,
            seed=seed,
            rate=min(rate, MOST_RATE),
            lifetime_scale=lifetime_scale,
        )
    except ValueError as problem:
        name, _, what = str(problem).partition(" ")
        wrong.append(f"--{name.replace('_', '-')}: {what}")
    chosen = USUAL_FAULTS if faults else NO_FAULTS
    for text in fault or ():
        try:
            chosen = with_fault(chosen, text)
        except ValueError as problem:
            wrong.append(f"--fault: {problem}")
    try:
        if wrong:
            raise ConfigurationError(wrong)
        asyncio.run(
            _serve(
                settings,
                chosen,
                host=host,
                port=port,
                requests_per_second=requests_per_second,
                token_seconds=token_seconds,
                verbose=verbose,
            )
        )
    except ConfigurationError as problem:
        for line in problem.faults:
            typer.echo(line, err=True)
        raise typer.Exit(2) from None


def _wrong(port: int, rate: float, requests_per_second: int, token_seconds: int) -> list[str]:
    wrong = []
    if not 0 <= port <= 65535:
        wrong.append(f"--port: must be from 0 to 65535, not {port}")
    if rate > MOST_RATE:
        wrong.append(f"--rate: must be at most {MOST_RATE}, not {rate:g}")
    if requests_per_second < 0:
        wrong.append(f"--requests-per-second: must be 0 or more, not {requests_per_second}")
    if token_seconds < 1:
        wrong.append(f"--token-seconds: must be 1 or more, not {token_seconds}")
    return wrong


async def _serve(
    settings: WorldSettings,
    faults: Faults,
    *,
    host: str,
    port: int,
    requests_per_second: int,
    token_seconds: int,
    verbose: bool,
) -> None:
    clock = SystemClock()
    world = World(settings, from_seconds(clock.time()), faults)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Sandbox(
        world,
        clock,
        host=host,
        port=port,
        requests_per_second=requests_per_second,
        token_seconds=token_seconds,
        observe=_print if verbose else None,
    ) as running:
        typer.echo(_greeting(running))
        await stop.wait()
        served = running.requests_served
    typer.echo(f"Stopped after {served.total} requests and {served.rows} rows.")


def _greeting(running: Sandbox) -> str:
    world, url = running.world, running.base_url
    having = "with faults" if world.faults != NO_FAULTS else "without faults"
    lines = [
        f"Simulated OCR API at {url}",
        f"Tasks arrive at {world.settings.rate:g} a second, seed {world.settings.seed}, {having}. Ctrl+C stops it.",
        "",
        "Look at its newest tasks:",
        "  curl -H 'Authorization: Bearer sandbox' -H 'x-monite-version: 2024-05-25' \\",
        f"    '{url}/ocr_tasks?sort=created_at&order=desc&limit=5'",
        "Watch it:",
        f"  WATCHER_MONITE__BASE_URL={url} WATCHER_MONITE__TOKEN=sandbox watcher run",
    ]
    owned = [scope.entity_id for scope in world.scopes if scope.entity_id]
    if owned:
        lines += ["Entities with tasks of their own, for x-monite-entity-id:", *(f"  {one}" for one in owned)]
    return "\n".join(lines)


def _print(served: Served) -> None:
    marks = f"  {' '.join(served.faults)}" if served.faults else ""
    status = served.status or "reset"
    typer.echo(f"{served.method} {served.target} {status} {served.rows} rows{marks}")

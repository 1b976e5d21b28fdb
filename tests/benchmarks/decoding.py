"""Pages decoded: the daemon's decoder beside the ones that it might have been."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from pydantic import TypeAdapter

from tests.benchmarks import typed_pages
from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Ratio, Sample, Stopwatch, interleave, median_of
from tests.benchmarks.report import Cell, Column, Report
from tests.benchmarks.samples import ROWS, full_page
from watcher.monite.wire import decode_tasks

_DAEMON: Final = "msgspec, as the daemon decodes"

_Decode = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Size:
    """How many pages make one measurement, and how many measurements are made of each decoder."""

    pages: int
    rounds: int


FULL: Final = Size(pages=100, rounds=9)
QUICK: Final = Size(pages=40, rounds=3)


async def run(size: Size, cores: Cores) -> Report:
    """Measure every decoder on one page of successes."""
    page = full_page()
    decoders = _decoders()
    present = {name: decoder for name, decoder in decoders.items() if decoder is not None}
    found = await interleave(
        {name: partial(_measure, decoder, page, size.pages) for name, decoder in present.items()}, size.rounds
    )
    daemon = found[_DAEMON]
    rows: list[tuple[Cell, ...]] = []
    for name in decoders:
        if name not in found:
            rows.append((name, None, None, None))
            continue
        samples = found[name]
        ratio = Ratio.of([sample.cpu for sample in samples], [sample.cpu for sample in daemon])
        rate = median_of(samples, lambda sample: sample.rate)
        rows.append((name, rate, median_of(samples, lambda sample: sample.cost / 1000), ratio))
    plain = Ratio.of([sample.cpu for sample in found["json"]], [sample.cpu for sample in daemon])
    return Report(
        title=f"pages decoded: {len(page) / 1000:,.0f} kB, {ROWS} successes with their documents",
        columns=(
            Column("decoder"),
            Column("pages/s", ",.0f"),
            Column("CPU ms a page", ".3f"),
            Column("CPU ÷ the daemon's"),
        ),
        rows=tuple(rows),
        reading=(
            f"the daemon's costs {1 / plain.median:.2f} of json's CPU, every row checked and made a Task, and "
            "is the only one here that keeps recognized_data as the bytes that came"
        ),
    )


def _decoders() -> dict[str, _Decode | None]:
    """By name; None for one that is not installed."""
    return {
        "json": json.loads,
        "orjson": _optional("orjson", "loads"),
        _DAEMON: decode_tasks,
        "msgspec, fully typed": msgspec.json.Decoder(typed_pages.StructPage).decode,
        "pydantic, four fields": TypeAdapter(typed_pages.SlimModelPage).validate_json,
        "pydantic, fully typed": TypeAdapter(typed_pages.ModelPage).validate_json,
    }


def _optional(module: str, function: str) -> _Decode | None:
    try:
        found: _Decode = getattr(importlib.import_module(module), function)
    except ImportError:
        return None
    return found


async def _measure(decode: _Decode, page: bytes, pages: int) -> Sample:
    with Stopwatch() as watch:
        for _ in range(pages):
            decode(page)
    return watch.sample(pages)

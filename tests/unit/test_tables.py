"""Tables on terminals of any width, and off them."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from watcher.cli.common import WIDE
from watcher.cli.status import _print
from watcher.cli.tables import Rows
from watcher.fleet.registry import Doing, Replica
from watcher.ops.status import ScopeStatus, ShardStatus, Status
from watcher.webhooks.stats import LaneStats

NAME = "accounting-of-the-northern-branch-and-its-many-subsidiaries-0001"
SCOPE = "7e209570-afd5-4078-ac33-b8e7409fa790"
REPLICA = "ocr-watcher-7d9c5b9f4d-x2x7k/1"
REFUSED = "its answer to OPTIONS has no WebHook-Allowed-Origin"


def console(width: int, *, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=terminal,
        color_system=None,
        soft_wrap=True,
        highlight=False,
        markup=False,
        emoji=False,
    )


def shown(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def status() -> Status:
    return Status(
        replicas=(Replica(REPLICA, 1_800_000_000.0, Doing("1.2.3", shards=(0, 1), sending=3)),),
        shards=(ShardStatus(0, REPLICA, 12.0, 100),),
        retired=(),
        scopes=(ScopeStatus(SCOPE, 0, 12, 0.5), ScopeStatus("-", 1, 0, None)),
        endpoints={NAME: LaneStats(refused=REFUSED), "shop": LaneStats(depth=3)},
    )


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_nothing_is_cut_and_no_line_of_a_table_is_too_long(width: int) -> None:
    out = console(width)
    _print(status(), out)
    lines = shown(out)
    text = "".join(line.replace(" ", "") for line in lines)
    for whole in (SCOPE, REPLICA, "2027-01-15", REFUSED, "shop", "deadletters", "coveragelag"):
        assert whole.replace(" ", "") in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    of_tables = [
        line for line in lines if not line.startswith("shard 0: held by")
    ]  # a sentence, which any may be
    assert max(map(cell_len, of_tables)) <= width
    if width >= 80:
        assert any(NAME in line for line in lines)


def test_what_fits_is_a_line_a_row() -> None:
    out, rows = console(60), Rows("endpoint", "state")
    rows.add("shop", "ok")
    rows.add("[red]", "held for 3 s")
    rows.show(out)
    assert [line.split() for line in shown(out)] == [
        ["endpoint", "state"],
        ["shop", "ok"],
        ["[red]", "held", "for", "3", "s"],
    ]


def test_what_does_not_is_a_block_a_row() -> None:
    out, rows = console(30), Rows("endpoint", "state")
    rows.add("shop", "not permitted: it answers OPTIONS with 405")
    rows.add("other", "ok")
    rows.show(out)
    assert [line.rstrip() for line in shown(out)] == [
        "endpoint   shop",
        "state      not permitted: it",
        "           answers OPTIONS",
        "           with 405",
        "",
        "endpoint   other",
        "state      ok",
        "",
    ]


def test_a_name_that_is_longer_than_a_line_is_folded() -> None:
    out, rows = console(40), Rows("endpoint", "state")
    rows.add(NAME, "ok")
    rows.show(out)
    lines = shown(out)
    assert max(map(cell_len, lines)) <= 40
    assert "".join(line.removeprefix("endpoint").strip() for line in lines[:-2]) == NAME


def test_a_pipe_has_a_line_a_row_however_long() -> None:
    out, rows = console(WIDE, terminal=False), Rows("endpoint", "state")
    rows.add(NAME, "x" * 2 * WIDE)
    rows.show(out)
    heading, row = shown(out)
    assert heading.split() == ["endpoint", "state"]
    assert row.split() == [NAME, "x" * 2 * WIDE]


def test_a_row_has_a_value_for_each_column() -> None:
    with pytest.raises(ValueError, match="for each column"):
        Rows("endpoint", "state").add("shop")

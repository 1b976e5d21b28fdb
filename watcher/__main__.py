"""The ``watcher`` command."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from watcher import __version__
from watcher.cli.check import check
from watcher.cli.demo import demo
from watcher.cli.reset import reset
from watcher.cli.run import run
from watcher.cli.sandbox import sandbox
from watcher.cli.status import status
from watcher.cli.tail import tail
from watcher.errors import ConfigurationError, WatcherError

MISCONFIGURED: Final = 2
FAILED: Final = 1

app = typer.Typer(
    name="watcher",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with its locals would show secrets
    help="Watches Monite OCR tasks and tells the rest of a product when one was recognised or failed.",
)
for command in (run, demo, sandbox, check, status, tail, reset):
    app.command()(command)


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Say the version and end.")] = False,
) -> None:
    if version:
        print(f"ocr-watcher {__version__}")  # noqa: T201 - what was asked for
        raise typer.Exit


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 the check or the job failed, 2 wrong usage or configuration."""
    try:
        app()
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201 - a command speaks to its user
        sys.exit(MISCONFIGURED)
    except WatcherError as error:
        print(error, file=sys.stderr)  # noqa: T201 - as above
        sys.exit(FAILED)


if __name__ == "__main__":
    main()

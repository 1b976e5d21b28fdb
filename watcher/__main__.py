"""The ``watcher`` command."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Final

import typer

from watcher import __version__, logs
from watcher.cli import deadletters, endpoints
from watcher.cli.backfill import backfill
from watcher.cli.check import check
from watcher.cli.demo import demo
from watcher.cli.reset import reset
from watcher.cli.reshard import reshard
from watcher.cli.run import run
from watcher.cli.sandbox import sandbox
from watcher.cli.status import status
from watcher.cli.tail import tail
from watcher.errors import ConfigurationError, WatcherError

MISCONFIGURED: Final = 2
FAILED: Final = 1

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a file says that takes no more, or the disk that it is on."""

app = typer.Typer(
    name="watcher",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with its locals would show secrets
    help="Watches Monite OCR tasks and tells the rest of a product when one was recognised or failed.",
)
for command in (run, demo, sandbox, check, status, tail, backfill, reset, reshard):
    app.command()(command)
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(deadletters.app, name="deadletters")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ocr-watcher {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version and end.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    # The daemon configures its own log; a command only lets through what its user must know.
    logs.configure("warning", "console")


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 the check or the job failed, 2 wrong usage or configuration."""
    _open_standard_files()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except ConfigurationError as error:
        typer.echo("\n".join(error.faults), err=True)
        sys.exit(MISCONFIGURED)
    except WatcherError as error:
        typer.echo(str(error), err=True)
        sys.exit(FAILED)
    except OSError as error:
        full = error.errno in _FULL and error.filename is None
        if not (full or isinstance(error, BrokenPipeError)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes it out once more
        if full:  # of a reader who has gone, as head does, nobody needs to be told
            typer.echo(
                f"standard output takes no more ({error.strerror}): make room, or send it elsewhere", err=True
            )
        sys.exit(FAILED)


def _open_standard_files() -> None:
    """Open the standard files that whoever started this has closed.

    What is opened next would take their numbers, and the event loop aborts where it is to close one of those.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    main()

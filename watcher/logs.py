"""Logging: structlog's events and the libraries' records leave in one form, secrets masked."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

MASK: Final = "***"

_SHORTEST_SECRET: Final = 4
"""Masking anything shorter would make the log unreadable, which hides no less."""

_LAST_RESORT: Final = r"(?i:(?P<word>bearer\s+|whsec_|whsk_))[\w.~+/=-]{16,}"
"""What looks like a secret though nobody named it: bearer tokens (RFC 6750) and signing secrets."""

_SUSPECT: Final = ("bearer", "whsec_", "whsk_")
"""What a line must hold, in lower case, for the last resort to apply."""

_TALKATIVE: Final = ("httpx", "httpcore", "aiohttp.access", "apprise")
"""Libraries that tell of every request at info, URL included; only their warnings are wanted."""


class _Output:
    """Where lines go. Those of one turn of the event loop leave in one write, which costs more than making a line.

    Our own warnings and errors leave at once, with all that has gathered: whoever looks for a cause finds it.
    What cannot be written is dropped: whoever reads the log is gone, and the work goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()  # threads write, too
        self._promised: asyncio.AbstractEventLoop | None = None

    def msg(self, line: str) -> None:
        """Write a line, at the latest when the event loop's turn ends."""
        self._lines.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if loop is not self._promised:
            self._promised = loop
            loop.call_soon(self.flush)

    def at_once(self, line: str) -> None:
        """Write a line now."""
        self._lines.append(line)
        self.flush()

    debug = info = msg
    warning = error = critical = at_once

    def flush(self) -> None:
        """Write what has gathered."""
        self._promised = None
        gathered: list[str] = []
        with suppress(IndexError):
            while True:
                gathered += (self._lines.popleft(), "\n")
        if gathered:
            with suppress(OSError, ValueError):
                self._stream.write("".join(gathered))
                self._stream.flush()


class _Handler(logging.Handler):
    """Ours, so that configuring again replaces it and nobody else's."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.msg(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Also called when the interpreter ends."""
        self._output.flush()


def configure(level: str, format: str, stream: TextIO | None = None, secrets: Iterable[str] = ()) -> None:  # noqa: A002 - the setting's name
    """Set up all logging of the process; may be called again.

    ``level`` and ``format`` are as in ``LogSettings``: ``auto`` means ``console`` on a terminal and ``json``
    (one object a line) otherwise. ``stream`` is standard error unless given. None of ``secrets`` is written,
    wherever it may turn up: in a value, in a library's message, in the text of an exception.
    """
    out = stream if stream is not None else sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    terminal = out.isatty()
    console = format == "console" or (format == "auto" and terminal)
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, _head]
    rendered: list[Processor] = [*(_console(colours=terminal) if console else _json()), masking(secrets)]
    output = _Output(out)
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: output,
        # Module-level loggers must follow when logging is configured again.
        cache_logger_on_first_use=False,
    )
    handler = _Handler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    for old in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(old)
        old.flush()
        old.close()
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def flush() -> None:
    """Write what has gathered: for a process that is about to end without the interpreter's own ending."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def masking(secrets: Iterable[str] = ()) -> Callable[[WrappedLogger, str, Any], str]:
    """A processor for the end of a chain, which takes secrets out of the line that is about to be written."""
    forms = {
        form
        for secret in secrets
        if len(secret) >= _SHORTEST_SECRET
        # As it is, and as a repr or JSON, or one in the other, writes quotes and other letters.
        for text in (secret, repr(secret)[1:-1])
        for form in (text, json.dumps(text)[1:-1], _as_json(text)[1:-1])
    }
    # The longest first: a secret may begin with another one.
    exact = [re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
    pattern = re.compile("|".join([*exact, _LAST_RESORT]))

    def mask(_logger: WrappedLogger, _method: str, line: Any) -> str:
        text = str(line)
        # Nearly every line is innocent, and looking for words takes a tenth of what the pattern takes.
        lowered = text.lower()
        if not any(word in lowered for word in _SUSPECT) and not any(form in text for form in forms):
            return text
        return pattern.sub(lambda found: (found["word"] or "") + MASK, text)

    return mask


def _console(*, colours: bool) -> list[Processor]:
    # Plain, because the fuller tracebacks print local variables, among them secrets.
    plain = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
    return [structlog.processors.format_exc_info, plain]


def _json() -> list[Processor]:
    exceptions = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return [exceptions, structlog.processors.JSONRenderer(serializer=_as_json)]


def _as_json(value: Any, default: Callable[[Any], Any] = repr) -> str:
    """JSON text; what JSON does not know is written as ``default`` says."""
    try:
        return msgspec.json.encode(value, enc_hook=default).decode()
    except (UnicodeEncodeError, TypeError):
        return json.dumps(value, default=default)  # slower, but it writes half characters and odd keys, too


def _head(_logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """What a reader looks for, put first: the time (ISO 8601, UTC, microseconds), the level and the event."""
    seconds = time.time()
    fraction = int(seconds % 1 * 1_000_000)
    timestamp = f"{_to_the_second(int(seconds))}.{fraction:06d}Z"
    return {"timestamp": timestamp, "level": level, "event": event.pop("event", ""), **event}


@lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    """Many lines are written within one second, and breaking the time down takes most of its text's cost."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))

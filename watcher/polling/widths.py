"""How wide a window of the past is worth being, by what windows have brought. Pure; spans are in microseconds."""

from __future__ import annotations

from typing import Final

from watcher.model import SECOND
from watcher.polling.flight import PAGE

FIRST_WIDTH: Final = 3600 * SECOND
"""Span of the past that one window reads before anything is known of how dense it is."""
NARROWEST: Final = 1 * SECOND
WIDEST: Final = 30 * 86_400 * SECOND


def next_width(width: int, span: int, rows: int) -> int:
    """The span worth one window of the past, after a window of ``span`` brought so many rows.

    It follows the window that was read, not the width by then: several windows of one plan say the same thing
    once, and a window that was narrow because little was left to read says nothing for a wider one.
    """
    if rows > 10 * PAGE:
        return narrower(width, span)
    if rows <= 2 * PAGE:
        return max(width, min(WIDEST, 2 * span))
    return width


def narrower(width: int, span: int) -> int:
    """The span worth one window, after one of ``span`` turned out to be too wide."""
    return min(width, max(NARROWEST, span // 2))

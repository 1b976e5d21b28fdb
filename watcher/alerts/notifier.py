"""Notifications through Apprise. Its URLs are secrets: nothing here says more of one than its scheme."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any, Final

from watcher.alerts.alerts import NotAccepted
from watcher.alerts.grouping import Kind
from watcher.alerts.message import Message

TIMEOUT: Final = 15.0
"""Seconds that a notification may take in all; each connection and each answer may take 4, Apprise's default."""

_TELLING: Final = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib", "paho", "slixmpp")
"""Loggers whose lines can hold a URL or a part of one: Apprise's, and those of what it sends with."""

_NOWHERE: Final = logging.NullHandler()

_SEVERITY: Final = {Kind.ERROR: "failure", Kind.UNKNOWN_STATUS: "warning"}
"""What Apprise calls a notification of each kind; services colour it so."""


class AppriseNotifier:
    """Tells people over one Apprise URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._apprise: Any = None
        self.service = scheme_of(url)

    async def notify(self, message: Message) -> None:
        """Send a message, in a thread, since Apprise is synchronous. Raises ``NotAccepted``."""
        await asyncio.to_thread(self._notify, message)

    def _notify(self, message: Message) -> None:
        if self._apprise is None:
            self._apprise = _load(self._url)
        result = self._apprise.notify(
            title=message.title,
            body=message.body,
            body_format="text",
            notify_type=_SEVERITY[message.kind],
            timeout=TIMEOUT,
        )
        # Only its truth is to be relied on: it is no bool, and equal to none.
        if not result:
            raise NotAccepted(_reason(result))


def check_urls(urls: Sequence[str]) -> list[str]:
    """A line for each URL that Apprise cannot use; nothing is sent."""
    return [
        f"WATCHER_ALERTS__URLS: entry {number} ({scheme_of(url)}://...) is not an Apprise URL that works here; "
        "write it as Apprise's documentation of that service says, and install what it names"
        for number, url in enumerate(urls, start=1)
        if len(_load(url)) != 1
    ]


def _reason(result: Any) -> str:
    """What can be said of a failure: Apprise's word for it, and the status of an HTTP answer if there was one."""
    words = [result.status.name.lower()]
    for entry in result.logs():
        words += [f"http {status}" for status in re.findall(r"\berror=(\d{3})\b", entry.message)]
    return ", ".join(dict.fromkeys(words))


def scheme_of(url: str) -> str:
    """The part of a URL that names the service."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://", url)
    return found[1].lower() if found else "unknown"


def _load(url: str) -> Any:
    """An Apprise object for the URL; empty where it is none."""
    for name in _TELLING:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(_NOWHERE)
    # When used, not before: it takes 0.1 s, and its plugins some more.
    import apprise

    loaded = apprise.Apprise(asset=apprise.AppriseAsset(app_id="ocr-watcher", app_desc="OCR watcher"))
    loaded.add(url)
    return loaded

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from watcher import logs
from watcher.alerts import NotAccepted
from watcher.alerts.grouping import Kind
from watcher.alerts.message import Message
from watcher.alerts.notifier import AppriseNotifier, check_urls, scheme_of

# One of Apprise's plugins imports a module that Python 3.13 has removed.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "T0KEN1SECRET"
MESSAGE = Message(Kind.ERROR, "1 OCR task failed", "Task id:\ntask-1")


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """All that any library says, down to the lowest level, as the daemon would write it."""
    written = io.StringIO()
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    logs.configure("debug", "json", written)
    yield written
    root.setLevel(level)
    root.handlers[:] = handlers


def test_right_urls_have_no_faults() -> None:
    assert check_urls([]) == []
    assert check_urls(["json://127.0.0.1:1/", "mailtos://user:password@example.com"]) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"slack://{SECRET}", "slack://..."),
        (f"discord://{SECRET}", "discord://..."),
        (f"nosuch://{SECRET}@host", "nosuch://..."),
        (f"json://host/{SECRET},json://other/{SECRET}", "json://..."),
        (SECRET, "unknown://..."),
    ],
)
def test_a_wrong_url_is_named_by_its_place_and_scheme_alone(
    url: str, shown: str, everything_logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    (fault,) = check_urls(["json://127.0.0.1:1/", url])

    assert fault.startswith(f"WATCHER_ALERTS__URLS: entry 2 ({shown}) is not an Apprise URL")
    assert SECRET not in fault
    assert SECRET not in everything_logged.getvalue()
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("url", "scheme"),
    [("json://host/path", "json"), ("MAILTOS://u:p@host", "mailtos"), ("/path", "unknown"), ("", "unknown")],
)
def test_the_scheme(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme
    assert AppriseNotifier(url).service == scheme


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        # Nobody listens on port 1, the reserved tcpmux.
        (f"json://user:{SECRET}@127.0.0.1:1/{SECRET}", "failure"),
        (f"nosuch://{SECRET}", "nomatch"),
    ],
)
async def test_what_fails_says_so_without_a_word_of_the_url(
    url: str, reason: str, everything_logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    notifier = AppriseNotifier(url)

    with pytest.raises(NotAccepted) as failure:
        await notifier.notify(MESSAGE)

    assert str(failure.value) == reason
    assert SECRET not in repr(notifier)
    assert SECRET not in everything_logged.getvalue()
    assert "127.0.0.1" not in everything_logged.getvalue()
    assert SECRET not in "".join(capfd.readouterr())

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros, from_seconds
from watcher.monite.headers import Head, read_head

NOW = from_seconds(1_795_406_400.5)  # Mon, 23 Nov 2026 04:00:00.5 GMT
DATE = "Mon, 23 Nov 2026 04:00:00 GMT"


def read(status: int = 200, /, **headers: str) -> Head:
    return read_head(status, {name.replace("_", "-"): value for name, value in headers.items()}, NOW)


def test_a_bare_head_says_nothing() -> None:
    assert read() == Head(200)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 7 ", 7.0),
        ("0.25", 0.25),
        ("3600", 3600.0),
        ("999999999", 999_999_999.0),
        ("Mon, 23 Nov 2026 04:00:30 GMT", 29.5),
        ("Mon, 23 Nov 2026 03:00:00 GMT", 0.0),
        ("-1", None),
        ("1e3", None),
        ("٣", None),
        ("", None),
        ("soon", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    assert read(429, retry_after=text).retry_after == seconds


def test_a_date_to_retry_after_is_measured_on_the_clock_that_named_it() -> None:
    stamps = {"date": "Mon, 23 Nov 2026 05:00:00 GMT", "retry_after": "Mon, 23 Nov 2026 05:00:07 GMT"}
    assert read(503, **stamps).retry_after == 7.0


def test_date() -> None:
    assert read(date=DATE).date == Micros(NOW - SECOND // 2)
    assert read(date="23.11.2026").date is None


@pytest.mark.parametrize(
    ("headers", "remaining"),
    [
        ({"ratelimit_remaining": "3"}, 3),
        ({"x_ratelimit_remaining_second": "0"}, 0),
        ({"ratelimit_remaining": "5", "x_ratelimit_remaining_second": "2"}, 2),
        ({"ratelimit_remaining": "x", "x_ratelimit_remaining_second": "2"}, 2),
        ({"ratelimit_remaining": "-1"}, None),
        ({"ratelimit_reset": "0"}, None),
    ],
)
def test_the_smallest_remaining_count_holds(headers: dict[str, str], remaining: int | None) -> None:
    assert read(**headers).remaining == remaining


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        ({"ratelimit_limit": "30"}, 30),
        ({"x_ratelimit_limit_second": "10"}, 10),
        ({"ratelimit_limit": "600", "x_ratelimit_limit_second": "10"}, 10),
        ({"ratelimit_limit": "10, 10;w=1"}, None),
        ({"ratelimit_remaining": "3"}, None),
    ],
)
def test_the_smallest_limit_holds(headers: dict[str, str], limit: int | None) -> None:
    assert read(**headers).limit == limit


def test_support_s_two_headers() -> None:
    head = read(x_request_id="req-1", x_process_time="0.02")
    assert (head.request_id, head.process_time) == ("req-1", "0.02")
    assert read(x_request_id="a\x1b[31m" + "b " * 200).request_id == ("a [31m" + "b " * 200)[:128].strip()
    assert read(x_request_id="  ").request_id is None


@pytest.mark.parametrize(
    ("location", "origin"),
    [
        ("https://user:pw@login.example/x?token=abc", "https://login.example"),
        ("/v2/ocr_tasks", None),
        ("https://[::1", None),
        ("", None),
    ],
)
def test_of_a_redirect_only_the_origin_is_told(location: str, origin: str | None) -> None:
    assert read(302, location=location).moved_to == origin
    assert read(200, location=location).moved_to is None


@pytest.mark.parametrize(
    ("status", "good"), [(199, False), (200, True), (299, True), (300, False), (404, False)]
)
def test_good(status: int, good: bool) -> None:
    assert Head(status).good is good


NAMES = [
    "date",
    "retry-after",
    "ratelimit-remaining",
    "ratelimit-limit",
    "x-request-id",
    "x-process-time",
    "location",
]
texts = st.text("ab9é٣\x1b\0\u2028 ", max_size=60) | st.text("0123456789., :+-GMTMonNv", max_size=60)


@given(st.integers(100, 599), st.dictionaries(st.sampled_from(NAMES), texts))
def test_no_header_can_do_harm(status: int, headers: dict[str, str]) -> None:
    head = read_head(status, headers, NOW)
    assert head.retry_after is None or head.retry_after >= 0

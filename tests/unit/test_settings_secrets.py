"""No text that may be a secret is ever told, wherever it was put."""

from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_settings import endpoint, faults
from watcher.errors import ConfigurationError
from watcher.settings import load_settings
from watcher.settings.names import KNOWN, PREFIX

MARK = "zq7x"
texts = st.builds("{}{}{}".format, st.text(max_size=8), st.just(MARK), st.text(max_size=8))


REDIS_URLS = [
    "{}",
    "redis://:{}@x",
    "{}://x",
    "redis://x/{}",
    "redis://x:{}",
    "redis://x?{}=1",
    "redis://x?db={}",
    "unix://{}",
    "redis+sentinel://{}",
    "redis+sentinel://a,b/main?sentinel_password={}",
    "redis+sentinel://a,b/main/{}",
    "redis+cluster://a,{}",
    "rediss://a?ssl_ca_certs={}",
    "redis://[{}",
]


def hiding_places(text: str) -> list[dict[str, str]]:
    """Settings with the text in every place that may hold a secret, rightly and wrongly."""
    quoted = json.dumps(text)
    key = "whsec_" + base64.b64encode(text.encode().ljust(24)[:64]).decode()
    endpoints: list[dict[str, object]] = [
        {"secrets": [text]},
        {"secrets": ["whsec_" + text]},
        {"secrets": text},
        {"secrets": {text: text}},
        {"secrets": [key, key]},
        {"secrets": [{"key": text}]},
        {"headers": {"Authorization": text}},
        {"headers": {text: "x"}},
        {"headers": {"X-A": {text: text}}},
        {"headers": text},
        {"headers": [text]},
        {"headers": {"Host": text}},
        {"url": text},
        {"url": f"https://x.test/{text}"},
        {"url": f"https://{text}@x.test/"},
        {"url": f"ftp://x.test?{text}"},
        {"url": [text]},
        {"proxy": text},
        {"proxy": f"http://u:{text}@x.test"},
        {"proxy": f"http://{text}@x.test", "network": "public"},
        {"proxy": f"ftp://x.test/{text}"},
    ]
    return [
        {"MONITE__TOKEN": text},
        {"MONITE__CLIENT_SECRET": text},
        {"MONITE__CLIENT_ID": "i", "MONITE__CLIENT_SECRET": text},
        {"MONITE__BASE_URL": f"https://u:{text}@x.test"},
        {"MONITE__BASE_URL": f"https://x.test/?key={text}"},
        {"HTTP__TOKEN": text},
        {"HOOKS__MONITE_SECRET": text},
        {"ALERTS__URLS": text},
        {"ALERTS__URLS": f"json://{text}@x.test"},
        {"ALERTS__URLS": f"[{quoted}, 5]"},
        {"ALERTS__URLS": f"[{quoted}"},
        *({"REDIS__URL": url.format(text)} for url in REDIS_URLS),
        {"WEBHOOKS": text},
        {"WEBHOOKS": f"[{quoted}]"},
        {"WEBHOOKS": f'[{{"secrets": [{quoted}]'},
        *({"WEBHOOKS": endpoint(**fields)} for fields in endpoints),
    ]


@settings(deadline=None, max_examples=25)
@given(texts)
def test_no_secret_is_ever_told(text: str) -> None:
    for environ in hiding_places(text):
        try:
            loaded = load_settings({f"WATCHER_{name}": value for name, value in environ.items()}, None)
        except ConfigurationError as error:
            told = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
        else:
            told = f"{loaded} {loaded!r}"
        assert MARK not in told.lower(), environ


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(sorted(KNOWN)) | st.text(max_size=12).map(PREFIX.__add__), st.text(max_size=30))
def test_any_text_under_any_name_ends_in_lines_and_nothing_else(name: str, text: str) -> None:
    for line in faults(**{name.removeprefix(PREFIX): text}):
        assert line.startswith(PREFIX)
        assert "; " in line

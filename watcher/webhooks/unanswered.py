"""Why no answer came from an endpoint, in words that a person can act on. Pure.

Of a URL only host and port are shown, of a proxy's neither user nor password: the rest may be secret.
"""

from __future__ import annotations

from typing import Final

from yarl import URL

from watcher.settings import Endpoint
from watcher.webhooks.outcome import Reason

_WORDS: Final = {
    Reason.DNS: "{which}{host} does not resolve{said}; mend its {setting} or the DNS",
    Reason.ADDRESS_REFUSED: "the address policy refuses every address of {which}{host}; {policy}",
    Reason.CONNECT: "{which}{dialled} takes no connection{said}; see that it runs, that its {setting} is right and "
    "that no firewall is in between",
    Reason.PROXY: "{which}{dialled} refuses; mend its rules, or the user and password in proxy",
    Reason.TLS: "TLS with {place}{either} fails{said}; mend its certificate, or ca_file, or client_cert if it asks for "
    "one",
    Reason.TIMEOUT: "{place} has not answered within {timeout:g} s; see whether it hangs or a firewall drops what is "
    "sent, or give it a longer timeout",
    Reason.WRITE: "{place} ended the connection before it had the request{said}; its own log may tell why",
    Reason.READ: "{place} ended the connection before it answered{said}; its own log may tell why",
    Reason.PROTOCOL: "what {place} answers is not HTTP; see that its url has the right scheme and port",
    Reason.INTERNAL: "a fault of the watcher itself{said}",
}
"""What is said of each reason for which no answer of the endpoint's came."""

_OWN_NETWORK: Final = 'give another url, or network = "any" if it is your own network'
_NO_NETWORK: Final = "link-local addresses and those of cloud metadata services always are; give another url"


def why_unanswered(reason: Reason, cause: str, endpoint: Endpoint) -> str:
    """What went wrong and how to mend it; empty where an answer's status is the reason.

    ``cause`` is what the system or TLS said, in its words, or nothing.
    """
    url = URL(endpoint.url)
    proxy = URL(endpoint.proxy.get_secret_value()) if endpoint.proxy else None
    dialled = proxy or url
    return _WORDS.get(reason, "").format(
        which="the proxy " if proxy else "",
        host=dialled.host,
        dialled=_place(dialled),
        place=_place(url),
        either=f" or the proxy {_place(proxy)}" if proxy and proxy.scheme == "https" else "",
        setting="setting proxy" if proxy else "url",
        policy=_OWN_NETWORK if endpoint.network == "public" else _NO_NETWORK,
        timeout=endpoint.timeout,
        said=f" ({cause})" if cause else "",
    )


def _place(url: URL) -> str:
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    return f"{host}:{url.port}"

"""What endpoints are verified against, and what is shown to them."""

from __future__ import annotations

import ssl
from functools import cache

from watcher.errors import ConfigurationError
from watcher.settings import Endpoint


@cache
def _system_authorities() -> ssl.SSLContext:
    """One for all: loading the system's authorities takes some 50 ms."""
    return ssl.create_default_context()


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """What the endpoint's certificate is verified against, and what is shown to it.

    Raises:
        ConfigurationError: a certificate file cannot be used.
    """
    place = f"webhooks[{endpoint.name}]"
    if endpoint.ca_file is None and endpoint.client_cert is None:
        return _system_authorities()
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except OSError as error:
        fault = (
            f"{place}.ca_file: {endpoint.ca_file} holds no usable certificate; give the authority's PEM file"
        )
        raise ConfigurationError([fault]) from error
    if endpoint.client_cert is not None:
        try:
            # An encrypted key would make OpenSSL ask for its password on the terminal: answer with none.
            context.load_cert_chain(endpoint.client_cert, password="")
        except OSError as error:
            fault = (
                f"{place}.client_cert: {endpoint.client_cert} is no certificate with its private key; "
                "give one PEM file with both, the key without a password"
            )
            raise ConfigurationError([fault]) from error
    return context

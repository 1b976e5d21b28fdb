"""The store that the daemon runs by itself when it is given none: a real Valkey server as its child."""

from watcher.state.embedded.place import embedded_url
from watcher.state.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "embedded_url"]

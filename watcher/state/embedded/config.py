"""The embedded server's configuration."""

from __future__ import annotations

_FIXED = """\
# Written by the watcher at every start; changes made here are lost.
dir .
daemonize no
logfile ""
loglevel notice
hide-user-data-from-log yes

# Reached through the socket, which only this user may open.
unixsocket valkey.sock
unixsocketperm 600
bind 127.0.0.1 -::1
protected-mode yes
enable-debug-command no
enable-module-command no
enable-protected-configs no

# A power cut costs about the last second of writes; the file that it cut short is loaded as far as it goes.
appendonly yes
appendfsync everysec
aof-load-truncated yes
aof-use-rdb-preamble yes
save ""

# Never drop a key to make room: refuse the write instead.
maxmemory 0
maxmemory-policy noeviction

# Small hashes stay compact up to this many fields.
hash-max-listpack-entries 512
"""


def render(port: int | None) -> str:
    """The configuration file's text; paths in it are relative, so none needs quoting.

    ``port`` opens a listener on the loopback addresses as well, without a password: anybody on this machine
    may then read and write the store.
    """
    return f"{_FIXED}\nport {port or 0}\n"

"""What the watcher remembers, in Redis: keys, the lease, and the one atomic step."""

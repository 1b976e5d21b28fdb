from __future__ import annotations

from hypothesis import settings

# No deadline: how long an example takes says more of the machine's load than of the code.
settings.register_profile("watcher", deadline=None)
settings.load_profile("watcher")

"""What a person may set: typed, bounded, read from four places and refused with lines that say the mending.

``sections`` holds the groups of settings, ``endpoint`` a webhook's, ``whole`` all of them; ``values`` checks single
values; ``sources`` reads the environment and the files; ``load`` joins them; ``faults`` words what is wrong.
"""

from watcher.settings.endpoint import RETRY_SCHEDULE, Endpoint
from watcher.settings.load import load_settings
from watcher.settings.sections import (
    AlertsSettings,
    EventsSettings,
    HooksSettings,
    HttpSettings,
    LogSettings,
    MoniteSettings,
    PollSettings,
    RedisSettings,
)
from watcher.settings.whole import Settings

__all__ = [
    "RETRY_SCHEDULE",
    "AlertsSettings",
    "Endpoint",
    "EventsSettings",
    "HooksSettings",
    "HttpSettings",
    "LogSettings",
    "MoniteSettings",
    "PollSettings",
    "RedisSettings",
    "Settings",
    "load_settings",
]

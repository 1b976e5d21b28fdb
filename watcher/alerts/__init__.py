"""Telling people about OCR errors.

What calls for telling is gathered into groups (``grouping``), each told in one notification (``message``) over
every URL (``channel``, ``notifier``). It stays pending in a consumer group until it was told (``alerts``).
"""

from watcher.alerts.alerts import Alerts, NotAccepted, Notifier, Turn

__all__ = ["Alerts", "NotAccepted", "Notifier", "Turn"]

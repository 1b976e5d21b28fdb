"""A simulated OCR API with the documented API's manners and faults.

`World` holds what happens, as a function of a seed and the time; `Sandbox` serves it over HTTP.
"""

from watcher.sandbox.faults import NO_FAULTS, USUAL_FAULTS, Faults, with_fault
from watcher.sandbox.queries import Cursor, Page, Query
from watcher.sandbox.served import RequestsServed, Served
from watcher.sandbox.server import Sandbox
from watcher.sandbox.tasks import SimulatedTask, WorldSettings
from watcher.sandbox.world import World

__all__ = [
    "NO_FAULTS",
    "USUAL_FAULTS",
    "Cursor",
    "Faults",
    "Page",
    "Query",
    "RequestsServed",
    "Sandbox",
    "Served",
    "SimulatedTask",
    "World",
    "WorldSettings",
    "with_fault",
]

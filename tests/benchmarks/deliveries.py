"""Deliveries: the daemon's whole path from the stream to the settlement, against bare loops that only post."""

from __future__ import annotations

import asyncio
import base64
import random
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import batched, cycle, islice
from pathlib import Path
from typing import Final, TextIO

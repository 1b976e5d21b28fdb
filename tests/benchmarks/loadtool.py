"""The fastest load tool on this machine: what it reaches is the machine's own ceiling."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Post:
    """What is posted again and again."""

    url: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadTool:
    """A tool that is installed: its arguments for a load, and where it says how much it reached."""

    name: str
    program: str
    arguments: Callable[[Post, Path, int, int], Sequence[str]]
    answer: re.Pattern[str]

    async def posts_per_second(self, post: Post, concurrency: int, seconds: int) -> float:
        """Post for so many seconds with so many connections.

        Raises:
            RuntimeError: the tool failed or says something else than was expected.
        """
        with tempfile.TemporaryDirectory(prefix="watcher-") as name:
            arguments = self.arguments(post, Path(name), concurrency, seconds)
            process = await asyncio.create_subprocess_exec(
                self.program, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            said, complained = await process.communicate()
        found = self.answer.search(said.decode(errors="replace"))
        if process.returncode != 0 or found is None:
            raise RuntimeError(f"{self.name} ended with {process.returncode}: {complained.decode()[-500:]}")
        return float(found[1])


def _wrk(post: Post, directory: Path, concurrency: int, seconds: int) -> Sequence[str]:
    script = directory / "post.lua"
    # A JSON string of ASCII is a Lua string too, but for the escape of "/", which Python does not write.
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(post.body.decode('ascii'))}"]
    lines += [
        f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in post.headers.items()
    ]
    script.write_text("\n".join(lines))
    return ("-t1", f"-c{concurrency}", f"-d{seconds}s", "-s", str(script), post.url)


def _hey(post: Post, directory: Path, concurrency: int, seconds: int) -> Sequence[str]:
    headers = [word for name, value in post.headers.items() for word in ("-H", f"{name}: {value}")]
    body = str(_body_file(post, directory))
    return ("-c", str(concurrency), "-z", f"{seconds}s", "-m", "POST", "-D", body, *headers, post.url)


def _ab(post: Post, directory: Path, concurrency: int, seconds: int) -> Sequence[str]:
    headers = [word for name, value in post.headers.items() for word in ("-H", f"{name}: {value}")]
    # Its -t means 50,000 requests at most unless -n comes after it.
    limits = ("-t", str(seconds), "-n", "100000000")
    body = str(_body_file(post, directory))
    return ("-q", "-k", "-c", str(concurrency), *limits, "-p", body, *headers, post.url)


def _body_file(post: Post, directory: Path) -> Path:
    path = directory / "body"
    path.write_bytes(post.body)
    return path


_KNOWN: Final = (
    ("wrk", _wrk, re.compile(r"Requests/sec:\s+([\d.]+)")),
    ("hey", _hey, re.compile(r"Requests/sec:\s+([\d.]+)")),
    ("ab", _ab, re.compile(r"Requests per second:\s+([\d.]+)")),
)
"""The fastest first."""


def fastest_tool() -> LoadTool | None:
    """The fastest load tool on the PATH, if any is."""
    return next(iter(installed_tools()), None)


def installed_tools() -> list[LoadTool]:
    """Every load tool on the PATH, the fastest first."""
    return [
        LoadTool(name, program, arguments, answer)
        for name, arguments, answer in _KNOWN
        if (program := shutil.which(name)) is not None
    ]

"""The standard's JavaScript library accepts what is sent, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from tests.unit.webhooks.builders import OTHER_SECRET, SECRET, endpoint, event, publish
from tests.unit.webhooks.receiver import Request, receiving
from tests.unit.webhooks.world import World
from watcher.clock import SystemClock

_TOOLS = all(map(shutil.which, ("node", "npm")))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _TOOLS, reason="needs Node and npm: the official library is JavaScript's"),
]

_VERIFY = """
const { Webhook } = require("standardwebhooks");
const { readFileSync } = require("fs");
const { secrets, headers, body } = JSON.parse(readFileSync("sent.json", "utf8"));
for (const secret of secrets) {
  const payload = new Webhook(secret).verify(body, headers);
  console.log(payload.data.task_id);
}
for (const [wrongBody, wrongHeaders] of [
  [body.replace("success", "failure"), headers],
  [body, { ...headers, "webhook-id": "another" }],
]) {
  let accepted = true;
  try { new Webhook(secrets[0]).verify(wrongBody, wrongHeaders); } catch { accepted = false; }
  if (accepted) throw new Error("a forgery was accepted");
}
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the library in it."""
    done = _run(["npm", "install", "--no-audit", "--no-fund", "standardwebhooks@1"], tmp_path)
    if any(
        sign in done.stderr for sign in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
    ):
        pytest.skip("npm does not reach its registry")
    assert done.returncode == 0, done.stderr
    return tmp_path


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=100)


async def delivered(redis: Redis) -> Request:
    world = World(redis, SystemClock())  # the library compares the signed time with the machine's
    secrets = (SecretStr(SECRET), SecretStr(OTHER_SECRET))
    async with receiving() as receiver, world.running(endpoint(url=receiver.url, secrets=secrets)):
        await publish(redis, event(1, recognized_data='{"name":"Zoë 株式会社","total":10.10}'.encode()))
        [request] = await receiver.received(1)
    return request


async def test_the_javascript_library_verifies_each_secret(package: Path, redis: Redis) -> None:
    request = await delivered(redis)
    sent = {"secrets": [SECRET, OTHER_SECRET], "headers": request.headers, "body": request.body.decode()}
    (package / "sent.json").write_text(json.dumps(sent))
    (package / "verify.js").write_text(_VERIFY)
    done = _run(["node", "verify.js"], package)
    assert done.stderr == ""
    assert done.stdout.split() == [event(1).subject] * 2

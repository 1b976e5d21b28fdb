"""The deployment files, against the real settings and the real command line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with apprise, without its types
from typer.testing import CliRunner

from watcher.__main__ import app
from watcher.app import GRACE
from watcher.settings import Settings, load_settings
from watcher.settings.names import KNOWN
from watcher.state.embedded import server as embedded

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "ocr-watcher.service"
SIDECAR = DEPLOY / "kubernetes" / "sidecar.yaml"
REPLICAS = DEPLOY / "kubernetes" / "replicas.yaml"

SECRETS = {
    "monite__client_id": "an-id",
    "monite__client_secret": "hush",
    "redis__url": "redis://:hush@valkey.example:6379/0",
    "http__token": "hush-hush-hush-hush-hush-hush-hush",
}
STOPPING_SECONDS = GRACE + embedded._GRACE_SECONDS


def settings_of(environ: Mapping[str, str], secrets: list[str], folder: Path) -> Settings:
    """The settings as the daemon reads them there, each secret being a file of ``folder``."""
    for name in secrets:
        (folder / name).write_text(SECRETS[name])
    given = {**environ, "WATCHER_SECRETS_DIR": str(folder)}
    return load_settings(given, env_file=None, need_api=True)


def instruction(name: str) -> str:
    """What the last instruction of this name in the Containerfile says, on one line."""
    text = CONTAINERFILE.read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", text, re.MULTILINE)[-1].strip()  # type: ignore[no-any-return]  # re's Any


@pytest.mark.parametrize(
    "path", [*sorted(DEPLOY.rglob("*.*")), ROOT / "README.md"], ids=lambda path: path.name
)
def test_nobody_is_told_to_install_it_from_an_index_that_does_not_have_it(path: Path) -> None:
    assert not re.search(r"pip install [^\n]*\bocr-watcher\b(?!/)", path.read_text())


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module", params=[SIDECAR, REPLICAS], ids=lambda path: path.stem)
def manifest(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def pod(manifest: Path) -> Any:
    """The watcher's container is its last."""
    return next(yaml.safe_load_all(manifest.read_text()))["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def unit() -> list[tuple[str, str]]:
    lines = [line for line in UNIT.read_text().splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize(
    "file", [path for path in DEPLOY.rglob("*") if path.is_file()], ids=lambda path: path.name
)
def test_only_settings_that_exist_are_named(file: Path) -> None:
    named = set(re.findall(r"WATCHER_[A-Z][A-Z0-9_]*[A-Z0-9]", file.read_text()))
    assert named <= KNOWN


def test_every_command_that_is_shown_exists(compose: Any, pod: Any, unit: list[tuple[str, str]]) -> None:
    shown = {
        *json.loads(instruction("CMD")),
        *compose["services"]["watcher"]["command"],
        *pod["containers"][-1]["args"],
        dict(unit)["ExecStart"].removeprefix("/opt/ocr-watcher/bin/watcher "),
        *re.findall(r"watcher (check|status)\b", "".join(path.read_text() for path in DEPLOY.rglob("*.*"))),
    }
    assert shown == {"run", "check", "status"}
    for command in shown:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command


def test_the_image_runs_the_daemon_as_nobody_in_particular() -> None:
    assert json.loads(instruction("ENTRYPOINT")) == ["watcher"]
    assert json.loads(instruction("CMD")) == ["run"]
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert instruction("USER") == "10001:10001"
    assert f"WATCHER_REDIS__DATA_DIR={instruction('VOLUME')}" in instruction("ENV")
    assert instruction("EXPOSE") == str(Settings().http.port)


def test_the_image_is_built_from_files_that_exist_and_are_let_through() -> None:
    let_through = {
        line[1:]
        for line in (CONTAINERFILE.parent / "Containerfile.dockerignore").read_text().splitlines()
        if line[0] == "!"
    }
    copied = set()
    for words in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE.read_text(), re.MULTILINE):
        copied.update(words.split()[:-1])
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server whose every answer but the one to GET /livez is 404; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        yield server.server_port


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_image_knows_whether_it_is_alive(status: int, healthy: bool) -> None:
    command = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    with answering(status) as port:
        asked = subprocess.run(
            [sys.executable, *command[1:]],
            env={"WATCHER_HTTP__PORT": str(port)},
            capture_output=True,
            check=False,
        )
    assert (asked.returncode == 0) == healthy


def test_compose_runs_the_daemon_on_a_store_of_its_own(compose: Any, tmp_path: Path) -> None:
    watcher, valkey = compose["services"]["watcher"], compose["services"]["valkey"]
    settings = settings_of(watcher["environment"], watcher["secrets"], tmp_path)
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == "redis://valkey:6379/0"
    assert watcher["environment"]["WATCHER_SECRETS_DIR"] == "/run/secrets"
    assert set(watcher["secrets"]) == set(compose["secrets"])
    assert (COMPOSE.parent / watcher["build"]["context"] / watcher["build"]["dockerfile"]).samefile(
        CONTAINERFILE
    )
    assert int(watcher["stop_grace_period"].removesuffix("s")) > STOPPING_SECONDS
    words = valkey["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
    }
    assert valkey["volumes"] == ["store:/data"]


def test_compose_publishes_nothing(compose: Any) -> None:
    assert not any("ports" in service for service in compose["services"].values())
    assert compose["networks"]["store"] == {"internal": True}
    assert compose["services"]["valkey"]["networks"] == ["store"]


def test_the_unit_gives_the_daemon_what_it_needs(unit: list[tuple[str, str]], tmp_path: Path) -> None:
    environ = dict(value.split("=", 1) for key, value in unit if key == "Environment")
    secrets = [value.partition(":")[0] for key, value in unit if key == "LoadCredential"]
    assert environ["WATCHER_SECRETS_DIR"] == "%d"
    settings = settings_of(environ, secrets, tmp_path)
    assert settings.redis.url is None
    given = dict(unit)
    assert environ["WATCHER_REDIS__DATA_DIR"] == f"%S/{given['StateDirectory']}"
    # With the default, the store would be told to end together with the daemon that still needs it.
    assert given["KillMode"] == "mixed"
    assert given["KillSignal"] == "SIGTERM"
    assert float(given["TimeoutStopSec"]) > STOPPING_SECONDS
    assert (given["Restart"], given["RestartPreventExitStatus"]) == ("always", "2")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "watcher"  # the check wants the program to be there
    program.touch(mode=0o755)
    installed = UNIT.read_text().replace("/opt/ocr-watcher/bin/watcher", str(program))
    (tmp_path / UNIT.name).write_text(installed)
    checked = subprocess.run(
        [shutil.which("systemd-analyze") or "", "verify", "--man=no", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    # It ends with 0 also when it has complained about a key that it doesn't know.
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_pod_can_be_probed(manifest: Path, pod: Any, tmp_path: Path) -> None:
    watcher = pod["containers"][-1]
    environ = {entry["name"]: entry["value"] for entry in watcher["env"]}
    secrets = re.findall(r"--from-literal=(\w+)=", manifest.read_text())
    settings = settings_of(environ, secrets, tmp_path)
    assert settings.redis.url is not None  # what is in a pod ends with it
    assert settings.http.host == "0.0.0.0"  # noqa: S104 - the kubelet is not in the pod
    assert settings.http.token is not None
    assert watcher["ports"] == [{"name": "watcher", "containerPort": settings.http.port}]
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert watcher[probe]["httpGet"] == {"path": path, "port": "watcher"}
    mount = watcher["volumeMounts"][0]
    assert mount["mountPath"] == environ["WATCHER_SECRETS_DIR"]
    assert [volume["name"] for volume in pod["volumes"] if "secret" in volume] == [mount["name"]]


def test_the_pod_is_no_more_than_it_must_be(pod: Any) -> None:
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] > STOPPING_SECONDS
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][-1]["securityContext"] == {
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_several_replicas_share_the_work_and_are_not_all_taken_away(tmp_path: Path) -> None:
    deployment, budget = yaml.safe_load_all(REPLICAS.read_text())
    spec = deployment["spec"]
    environ = {each["name"]: each["value"] for each in spec["template"]["spec"]["containers"][0]["env"]}
    settings = settings_of(environ, list(SECRETS), tmp_path)
    assert settings.redis.shards > spec["replicas"] > budget["spec"]["maxUnavailable"]
    assert settings.redis.wait_replicas == 1
    assert budget["spec"]["selector"] == spec["selector"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]

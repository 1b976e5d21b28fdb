"""The four places: their order, their forms, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_settings import ENTITY, SECRET, faults, load
from watcher.errors import ConfigurationError
from watcher.settings import Settings, load_settings

TOML = f"""
[monite]
token = "from-toml"
entities = ["{ENTITY}"]
requests_per_second = 12

[poll]
interval = 2.5
start = 2026-01-31T08:00:00Z

[events]
types = ["success", "error"]
recognized_data = true

[alerts]
urls = ["json://x.test"]

[[webhooks]]
name = "one"
url = "https://x.test/1"
secrets = ["{SECRET}"]
headers = {{ X-Team = "billing" }}

[[webhooks]]
name = "two"
url = "https://x.test/2"
secrets = ["{SECRET}"]
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "watcher.toml"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir()
    return directory


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def token(settings: Settings) -> str | None:
    return settings.monite.token.get_secret_value() if settings.monite.token else None


def told(environ: dict[str, str], env_file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, env_file)
    return list(caught.value.faults)


def test_the_environment_comes_before_the_files_in_their_order(
    toml: Path, secrets: Path, env_file: Path
) -> None:
    environ = {"WATCHER_CONFIG": str(toml), "WATCHER_SECRETS_DIR": str(secrets), "WATCHER_MONITE__TOKEN": "1"}
    env_file.write_text("WATCHER_MONITE__TOKEN=2\n")
    toml.write_text('[monite]\ntoken = "3"')
    (secrets / "monite__token").write_text("4")

    assert token(load_settings(environ, env_file)) == "1"
    environ["WATCHER_MONITE__TOKEN"] = ""  # an empty value counts as unset
    assert token(load_settings(environ, env_file)) == "2"
    env_file.unlink()
    assert token(load_settings(environ, env_file)) == "3"
    toml.write_text("")
    assert token(load_settings(environ, env_file)) == "4"
    (secrets / "monite__token").write_text("\n")
    assert token(load_settings(environ, env_file)) is None


def test_each_setting_of_a_section_may_come_from_another_place(
    toml: Path, secrets: Path, env_file: Path
) -> None:
    env_file.write_text(
        f"WATCHER_CONFIG={toml}\nWATCHER_SECRETS_DIR={secrets}\nWATCHER_MONITE__TIMEOUT=3\nPATH=x\n"
    )
    toml.write_text("[monite]\nrequests_per_second = 5")
    (secrets / "monite__token").write_text("secret")

    monite = load_settings({"WATCHER_MONITE__API_VERSION": "2025-01-01"}, env_file).monite

    assert (monite.api_version, monite.timeout, monite.requests_per_second) == ("2025-01-01", 3, 5)
    assert monite.token is not None


def test_a_whole_toml_file(toml: Path) -> None:
    toml.write_text(TOML)

    settings = load(CONFIG=str(toml))

    assert token(settings) == "from-toml"
    assert settings.monite.entities == (ENTITY,)
    assert settings.monite.requests_per_second == 12
    assert (settings.poll.interval, settings.poll.start) == (2.5, 1_769_846_400_000_000)
    assert (settings.events.types, settings.events.recognized_data) == (
        ("ocr_task.success", "ocr_task.error"),
        True,
    )
    assert [url.get_secret_value() for url in settings.alerts.urls] == ["json://x.test"]
    assert [endpoint.name for endpoint in settings.webhooks] == ["one", "two"]
    assert settings.webhooks[0].headers["X-Team"].get_secret_value() == "billing"


def test_names_in_toml_in_any_case(toml: Path) -> None:
    toml.write_text("monite__timeout = 3\n[Poll]\nINTERVAL = 7\n[poll]\nhorizon = 99\n[[Webhooks]]\n")

    assert {line.split(" ")[0] for line in faults(CONFIG=str(toml))} == {
        "WATCHER_WEBHOOKS[0].name",
        "WATCHER_WEBHOOKS[0].url",
        "WATCHER_WEBHOOKS[0].secrets",
    }
    toml.write_text(toml.read_text().partition("[[")[0])
    settings = load(CONFIG=str(toml))
    assert (settings.poll.interval, settings.poll.horizon, settings.monite.timeout) == (7, 99, 3)


def test_endpoints_from_a_stronger_place_replace_all_of_a_weaker(toml: Path) -> None:
    toml.write_text(TOML)

    assert load(CONFIG=str(toml), WEBHOOKS="[]").webhooks == ()


@pytest.mark.parametrize(
    "name", ["monite__token", "MONITE__TOKEN", "watcher_monite__token", "WATCHER_MONITE__TOKEN"]
)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_secret_files_by_any_of_their_names(secrets: Path, name: str, ending: str) -> None:
    (secrets / name).write_bytes(f"a-token{ending}".encode())

    assert token(load(SECRETS_DIR=str(secrets))) == "a-token"


def test_a_volume_of_kubernetes(secrets: Path) -> None:
    (secrets / "..2026_01_31").mkdir()
    (secrets / "..2026_01_31" / "WATCHER_HTTP__TOKEN").write_text("a-token")
    (secrets / "..data").symlink_to("..2026_01_31")
    (secrets / "WATCHER_HTTP__TOKEN").symlink_to("..data/WATCHER_HTTP__TOKEN")

    assert load(SECRETS_DIR=str(secrets)).http.token is not None


def test_secrets_of_other_programs_are_not_even_read(secrets: Path) -> None:
    (secrets / "postgres_password").write_bytes(b"\xff")
    (secrets / "more").mkdir()
    (secrets / ".hidden").write_text("x")
    (secrets / "webhooks").write_text("[]")

    assert load(SECRETS_DIR=str(secrets)).webhooks == ()


def test_an_unknown_name_with_the_prefix_is_refused_in_every_place(
    toml: Path, secrets: Path, env_file: Path
) -> None:
    environ = {"WATCHER_CONFIG": str(toml), "WATCHER_SECRETS_DIR": str(secrets), "WATCHER_LOG__LEVELL": "x"}
    env_file.write_text("WATCHER_POLL__STAR=all\n")
    toml.write_text("[pol]\ninterval = 3\n[redis]\nurll = 'x'\n[redis.more]\nx = 1\n")
    (secrets / "watcher_monite__tokn").write_text("x")

    assert told(environ, env_file) == [
        "WATCHER_LOG__LEVELL: no such setting; did you mean WATCHER_LOG__LEVEL?",
        f"WATCHER_POLL__STAR (from {env_file}): no such setting; did you mean WATCHER_POLL__START?",
        f"WATCHER_POL__INTERVAL (from {toml}): no such setting; did you mean WATCHER_POLL__INTERVAL?",
        f"WATCHER_REDIS__MORE (from {toml}): no such setting; did you mean WATCHER_REDIS__PORT?",
        f"WATCHER_REDIS__URLL (from {toml}): no such setting; did you mean WATCHER_REDIS__URL?",
        f"WATCHER_MONITE__TOKN (from {secrets}): no such setting; did you mean WATCHER_MONITE__TOKEN?",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("poll = 3", "WATCHER_POLL (from {}): no such setting; did you mean WATCHER_POLL__START?"),
        ("config = 'x'", "WATCHER_CONFIG (from {}): no such setting; "),
        ("_env_file = 'x'", "WATCHER__ENV_FILE (from {}): no such setting; "),
        ("[[poll]]\ninterval = 3", "WATCHER_POLL (from {}): no such setting; "),
        ('"a\\nb" = 1', "WATCHER_A\\nB (from {}): no such setting; "),
        ("[poll]\ninterval = '0'", "WATCHER_POLL__INTERVAL (from {}): 0 is less than 0.2; "),
        ("[poll.interval]\nx = 1", "WATCHER_POLL__INTERVAL (from {}): the value is not a number; "),
        ("[monite]\ntoken = 5", "WATCHER_MONITE__TOKEN (from {}): the value has the wrong type; "),
        ("[log]\nlevel = ''", "WATCHER_LOG__LEVEL (from {}): '' is not known; "),
        ("[redis]\nnamespace = ''", "WATCHER_REDIS__NAMESPACE (from {}): '' cannot be a key prefix; "),
        ("[webhooks]\nname = 'x'", "WATCHER_WEBHOOKS (from {}): the value has the wrong type; give a list"),
        (TOML.replace('"one"', "5"), "WATCHER_WEBHOOKS[0].name (from {}): 5 has the wrong type; "),
        ("[poll", "WATCHER_CONFIG: {} is not TOML (end of document); mend it there"),
        ("[monite]\ntoken = zq7x", "WATCHER_CONFIG: {} is not TOML (line 2, column 9); mend it there"),
    ],
)  # fmt: skip
def test_wrong_toml(toml: Path, text: str, line: str) -> None:
    toml.write_text(text)

    (given,) = faults(CONFIG=str(toml))

    assert given.startswith(line.format(toml))


def test_a_toml_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"# \xff")
    for name, why in (
        ("none", "cannot be read (No such file"),
        (".", "(Is a directory)"),
        ("latin", "is not UTF-8 text"),
    ):
        (line,) = faults(CONFIG=str(tmp_path / name))
        assert line.startswith(f"WATCHER_CONFIG: {tmp_path / name} ")
        assert why in line
        assert line.endswith("; give the path of a readable TOML file")


def test_a_secrets_directory_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, why in (("none", "No such file or directory"), ("file", "Not a directory")):
        assert faults(SECRETS_DIR=str(tmp_path / name)) == [
            f"WATCHER_SECRETS_DIR: {tmp_path / name} cannot be read ({why}); "
            "give the path of a readable directory"
        ]


def test_secret_files_that_cannot_be_used(secrets: Path) -> None:
    (secrets / "monite__token").mkdir()
    (secrets / "http__token").write_bytes(b"zq7x\xff")
    (secrets / "redis__url").write_text("redis://x")
    (secrets / "WATCHER_REDIS__URL").write_text("redis://y")
    (secrets / "monite__client_secret").symlink_to(secrets / "gone")

    assert sorted(faults(SECRETS_DIR=str(secrets))) == [
        f"WATCHER_HTTP__TOKEN (from {secrets}): its file is not UTF-8 text; make it a readable text file",
        f"WATCHER_MONITE__CLIENT_SECRET (from {secrets}): its file cannot be read (No such file or directory); "
        "make it a readable text file",
        f"WATCHER_MONITE__TOKEN (from {secrets}): its file cannot be read (Is a directory); "
        "make it a readable text file",
        f"WATCHER_REDIS__URL (from {secrets}): two files give it; remove one",
    ]


def test_a_wrong_secret_names_its_place_and_not_itself(secrets: Path) -> None:
    (secrets / "monite__token").write_text("zq7x zq7x")

    (line,) = faults(SECRETS_DIR=str(secrets))

    assert line.startswith(f"WATCHER_MONITE__TOKEN (from {secrets}): is empty or holds a space, ")
    assert "zq7x" not in line.replace(str(secrets), "")


def test_a_wrong_env_file(env_file: Path) -> None:
    env_file.write_text("# fine\nWATCHER_LOG__LEVEL=loud\n")
    assert told({}, env_file)[0].startswith(f"WATCHER_LOG__LEVEL (from {env_file}): 'loud' is not known; ")
    env_file.write_text("# fine\n'zq7x\n")
    assert told({}, env_file) == [f"{env_file}: not NAME=value in line 2; mend what stands there"]
    env_file.write_bytes(b"\xff")
    assert told({}, env_file)[0].startswith(f"{env_file}: is not UTF-8 text; ")
    env_file.unlink()
    env_file.mkdir()
    assert told({}, env_file)[0].startswith(f"{env_file}: cannot be read (Is a directory); ")


def test_without_an_env_file_there_is_none(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("WATCHER_LOG__LEVEL=debug\n")
    monkeypatch.chdir(env_file.parent)

    assert load_settings({}).log.level == "debug"
    assert load_settings({}, None).log.level == "info"

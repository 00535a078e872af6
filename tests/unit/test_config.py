"""Settings: which layer wins, where a value is said to be from, and what a wrong one is answered with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from quantai.cli import main
from quantai.core.errors import InputError, UnknownName
from quantai.ops.config import origins, settings
from quantai.ops.secrets import find_secret


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """An empty folder to work in and an empty home; returns what writes a settings file of either."""
    for folder in ("here", "user"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("quantai.ops.config.user_config_path", lambda _: tmp_path / "user")

    def write(where: str, text: str) -> Path:
        (tmp_path / where / "quantai.toml").write_text(text, encoding="utf-8")
        return tmp_path / where / "quantai.toml"

    return write


def test_the_nearer_layer_wins_and_origins_tell_which(home, monkeypatch):
    user = home("user", 'lake = "/u"\n[chat]\nmodel = "openai:u"\nurl = "http://u"\n[knowledge]\npath = "/u/k"\n')
    home("here", 'lake = "/h"\n[chat]\nmodel = "openai:h"\n')
    monkeypatch.setenv("QUANTAI_LAKE", "/e")
    found = settings()
    assert (found.lake, found.pipelines, found.knowledge.path) == (Path("/e"), Path("out/pipelines"), Path("/u/k"))
    assert (found.chat.model, found.chat.url) == ("openai:h", "http://u"), "a section is merged key by key"
    told = origins()
    assert told["lake"] == (Path("/e"), "$QUANTAI_LAKE")
    assert told["chat.model"] == ("openai:h", "quantai.toml")
    assert told["knowledge.path"] == (Path("/u/k"), str(user))
    assert told["pipelines"] == (Path("out/pipelines"), "default")


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("QUANTAI_CHAT_MODEL", "")
    assert settings().chat.model == ""
    assert origins()["chat.model"] == ("", "default")


def test_one_file_may_be_named_instead(home, monkeypatch, tmp_path):
    home("here", 'lake = "/h"')
    (tmp_path / "other.toml").write_text('pipelines = "/o"', encoding="utf-8")
    monkeypatch.setenv("QUANTAI_CONFIG", str(tmp_path / "other.toml"))
    assert (settings().lake, settings().pipelines) == (Path("datasets/lake"), Path("/o"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('leak = "x"', "unknown setting 'leak': did you mean 'lake'"),
        ('[chat]\nmodle = "x"', "unknown setting 'chat.modle': did you mean 'chat.model'"),
        ("[chat]\nmodel = 3", "setting chat.model: input should be a valid string, not 3"),
        ('chat = "x"', "setting chat: "),
        ("lake = ", "settings file quantai.toml: Invalid value"),
    ],
)
def test_a_wrong_file_is_told(home, text, message):
    home("here", text)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        settings()


def test_a_misspelt_variable_is_told_and_a_foreign_one_is_not(monkeypatch):
    monkeypatch.setenv("QUANTAI_BINANCE_KEY", "k")
    monkeypatch.setenv("QUANTAI_WEBHOOK", "http://localhost")
    assert settings().lake == Path("datasets/lake")
    monkeypatch.setenv("QUANTAI_CHAT_MODLE", "x")
    with pytest.raises(UnknownName, match="did you mean 'QUANTAI_CHAT_MODEL'"):
        settings()


def test_the_command_shows_values_and_origins(monkeypatch, capsys):
    monkeypatch.setenv("QUANTAI_LAKE", "/e")
    assert main(["config", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lake"] == "/e"
    assert main(["config", "show", "--origin", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["settings"]
    assert shown["lake"] == {"value": "/e", "origin": "$QUANTAI_LAKE"}
    assert shown["pipelines"]["origin"] == "default"
    assert main(["config", "show", "--origin"]) == 0
    assert "/e  from $QUANTAI_LAKE" in capsys.readouterr().out
    monkeypatch.setenv("QUANTAI_LAKEE", "/e")
    assert main(["config", "show"]) == 1
    assert "did you mean 'QUANTAI_LAKE'" in capsys.readouterr().err


def test_secrets_come_from_the_environment_first(monkeypatch):
    monkeypatch.setenv("QUANTAI_TOOLS_KEY", "from here")
    assert find_secret("tools_key") == "from here"
    assert find_secret("tools_key", {}) == "", "an environment that is given is the only place"

"""What a user may set once for all commands and notebooks: defaults < files < environment < what a call says.

A setting is a key of `quantai.toml`, of the user's or of this folder's (the latter wins), or an environment variable:
`QUANTAI_LAKE` is `lake`, `QUANTAI_CHAT_MODEL` is `model` in `[chat]`. Secrets stand in no file: see `secrets`.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from quantai.core.errors import InputError, UnknownName

_PREFIX = "QUANTAI_"
_OTHERS = ("CACHE", "CONFIG", "DEBUG", "PYTHON")
"""Variables of ours that are no settings: they are read before settings are, or by scripts."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnowledgeSection(_Section):
    """Where the knowledge base is kept."""

    path: Path = Field(default=Path("datasets/knowledge"), description="folder of the store")
    server: str = Field(default="", description="URL of a Chroma server; empty: embedded, for one process")


class ChatSection(_Section):
    """Which chat model answers; its key is in the variable its provider names."""

    model: str = Field(default="", description='"provider:name"; empty: answers are passages, without a model')
    url: str = Field(default="", description="a server that speaks OpenAI's protocol; empty: the provider's own")


class ServiceSection(_Section):
    """How services are run; keys themselves may also stand in QUANTAI_API_KEYS."""

    keys: Path | None = Field(default=None, description="file of API keys; none: a service's own, or this machine only")
    embedding: str = Field(default="minilm", description="what the knowledge service makes vectors with, or none")
    trust: bool = Field(default=False, description="let tools compute unasked after a document of the service was read")


class Settings(BaseSettings):
    """All settings, each with a default that works. Paths are relative to the current folder."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="_", env_nested_max_split=1, extra="forbid", frozen=True
    )

    lake: Path = Field(default=Path("datasets/lake"), description="folder of recorded and imported market data")
    pipelines: Path = Field(default=Path("out/pipelines"), description="folder of scheduled runs and their table")
    knowledge: KnowledgeSection = KnowledgeSection()
    chat: ChatSection = ChatSection()
    service: ServiceSection = ServiceSection()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where values come from, the strongest first."""
        return init_settings, *(source for _, source in _layers())


def settings() -> Settings:
    """Return the settings as they are now; raises InputError naming a key, file or variable that is wrong.

    >>> settings().lake.name
    'lake'
    """
    _check_variables()
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UnknownName("setting", name, describe()) from None
        raise InputError(f"setting {name}: {first['msg'].lower()}, not {first['input']!r}") from None


def origins() -> dict[str, tuple[Any, str]]:
    """Return each setting by its dotted name: its value, and the file or variable it is from, or `default`.

    >>> list(origins())
    ['lake', 'pipelines', 'knowledge.path', 'knowledge.server', 'chat.model', 'chat.url', 'service.keys', ...]
    """
    told = {name: (value, "default") for name, value in _leaves(settings().model_dump())}
    for place, source in reversed(_layers()):
        for name, _ in _leaves(source()):
            told[name] = (told[name][0], place or f"${_variable(name)}")
    return told


def describe() -> dict[str, str]:
    """Return what each setting is, by its dotted name."""
    return dict(_descriptions(Settings))


def config_files() -> list[Path]:
    """Return the files that are read, the strongest first, there or not; $QUANTAI_CONFIG names one instead of them."""
    if only := os.environ.get("QUANTAI_CONFIG"):
        return [Path(only)]
    return [Path("quantai.toml"), user_config_path("quantai") / "quantai.toml"]


def _layers() -> list[tuple[str, PydanticBaseSettingsSource]]:
    files = [(str(path), _file(path)) for path in config_files()]
    return [("", EnvSettingsSource(Settings, env_ignore_empty=True)), *files]


def _file(path: Path) -> TomlConfigSettingsSource:
    try:
        return TomlConfigSettingsSource(Settings, path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"settings file {path}: {error}") from error


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def _descriptions(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _descriptions(field.annotation, f"{above}{name}.")
        else:
            yield above + name, field.description or ""


def _variable(name: str) -> str:
    return _PREFIX + name.replace(".", "_").upper()


def _check_variables() -> None:
    """Refuse a variable that is nearly a setting: what is not near one may be a secret, or somebody else's."""
    known = {_variable(name) for name in describe()} | {_PREFIX + name for name in _OTHERS}
    for name in os.environ:
        if name.startswith(_PREFIX) and name not in known and difflib.get_close_matches(name, known, cutoff=0.85):
            raise UnknownName("environment variable", name, known)

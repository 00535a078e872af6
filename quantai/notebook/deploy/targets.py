"""What is written for each target."""

import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from quantai.core.errors import InputError, StorageError, UnknownName
from quantai.notebook.deploy.dashboard import dashboard
from quantai.notebook.deploy.fields import Wanted, fields_of
from quantai.notebook.promote.bento import export_bento, packed_tag
from quantai.notebook.promote.store import get, resolve
from quantai.notebook.promote.version import LOCK, Version
from quantai.ops import durable, make_folder

_CONTAINER = ("Containerfile", "environment.txt", "deployment.json")
_KUBERNETES = ("kustomization.yaml", "workload.yaml", "service.yaml", "volume.yaml")
TARGETS = {
    "container": _CONTAINER,
    "compose": (*_CONTAINER, "compose.yaml"),
    "kubernetes": (*_CONTAINER, *_KUBERNETES),
    "systemd": ("quantai.service",),
    "grafana": ("dashboard.json", "alerts.yaml", "prometheus.yaml"),
}
"""The files of each target; those of a container have NAME.bento beside them."""


def deploy(what: str, target: str, out: str | Path, *, bento: bool = True, **wanted: Any) -> list[Path]:
    """Write the files that run a promoted version elsewhere, and return them.

    `what` is "name", "name:version" or "name:challenger"; `target` one of `TARGETS`; the rest are fields of `Wanted`.
    Without `bento` the file of the version itself, which takes a while, is left out. A file that is there is left as it
    is when it says the same; else InputError is raised before anything is written.

    Raises UnknownName, InputError; StorageError when a file cannot be written.
    """
    if target not in TARGETS:
        raise UnknownName("target", target, TARGETS)
    version, folder = get(resolve(what)), Path(out)
    texts = {_file(name, version): text for name, text in written(version, target, Wanted(**wanted)).items()}
    for name, text in texts.items():
        if (folder / name).exists() and (folder / name).read_text() != text:
            raise InputError(f"{folder / name} says something else: remove it, or choose another --out")
    packed = folder / f"{version.name}.bento"
    if packed.exists() and (holds := packed_tag(packed)) != version.tag:
        raise InputError(
            f"{packed} holds {holds or 'no version'}, not {version.tag}: remove it, or choose another --out"
        )
    try:
        make_folder(folder)
        for name, text in texts.items():
            _write(folder / name, text)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from None
    made = [folder / name for name in texts]
    if bento and "Containerfile" in texts:
        if not packed.exists():
            export_bento(version.tag, packed)
        made.append(packed)
    return made


def written(version: Version, target: str, wanted: Wanted) -> dict[str, str]:
    """Return the files of a target by name, as text."""
    fields, templates = fields_of(version, wanted), files(__package__) / "templates"
    made = {
        "environment.txt": lambda: _environment(version),
        "deployment.json": lambda: fields["deployment"],
        "dashboard.json": lambda: json.dumps(dashboard(version.name), indent=1) + "\n",
        "alerts.yaml": (templates / "alerts.yaml").read_text,
    }
    return {
        name: made[name]() if name in made else Template((templates / name).read_text()).substitute(fields)
        for name in TARGETS[target]
    }


def _environment(version: Version) -> str:
    """Return what the version was promoted with, package by package; its own code is in the bento."""
    lines = version.folder.joinpath(LOCK).read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if not line.startswith(("#", "quantai==")))


def _file(name: str, version: Version) -> str:
    return f"quantai-{version.name}.service" if name == "quantai.service" else name


def _write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        durable(file.fileno())
    draft.replace(path)

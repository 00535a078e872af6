"""The files that run a version elsewhere: whole, sound, and without a secret; every metric they name is exported."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantai.cli import main
from quantai.core.errors import InputError, UnknownName
from quantai.execution.limits import Limits
from quantai.execution.monitor.metrics import METRICS
from quantai.notebook.deploy import TARGETS, deploy
from quantai.notebook.deploy.fields import Wanted
from quantai.notebook.deploy.targets import written
from quantai.notebook.promote.store import _bentoml, _models
from quantai.notebook.promote.version import LIMITS, LOCK, MANIFEST, Version
from serving.deployment import Deployment

SECRETS = {
    "QUANTAI_BINANCE_KEY": "kkk-never",
    "QUANTAI_BINANCE_SECRET": "sss-never",
    "QUANTAI_API_KEYS": "operate:never",
}


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Version]:
    """A stored version in a BentoML home of its own, as far as these files are concerned."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    _bentoml()
    from bentoml._internal.configuration.containers import BentoMLContainer

    BentoMLContainer.bentoml_home.set(str(tmp_path))
    folder = _models() / "cross" / "v1"  # BentoML may have chosen its folder in an earlier test
    yield stored(folder)
    shutil.rmtree(folder.parent)
    BentoMLContainer.bentoml_home.reset()


def stored(folder: Path) -> Version:
    folder.mkdir(parents=True)
    texts = {LOCK: "# of a test\nnumpy==2.3.0\nquantai==0.1.0\n", LIMITS: Limits.example().text()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    said = {
        "name": "cross", "version": "v1", "symbols": [["BINANCE", "BTC-USDT"]], "interval": "1m",
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(said))
    return Version.open(folder)


def test_every_target_is_filled_in_and_has_no_secret(version: Version) -> None:
    for target in TARGETS:
        for name, text in written(version, target, Wanted(mode="live", sandbox=True)).items():
            assert "never" not in text.replace("never overwritten", ""), (target, name)
            left = re.findall(r"\$[a-z_]+", text) if name not in ("dashboard.json", "alerts.yaml") else []
            assert left == [], (target, name)


def test_what_a_container_is_made_of(version: Version, tmp_path: Path) -> None:
    made = deploy("cross:v1", "compose", tmp_path / "out", bento=False, mode="live", port=3001)
    files = {path.name: path.read_text() for path in made}
    assert files["environment.txt"] == "numpy==2.3.0\n"
    assert "COPY --chown=quantai cross.bento deployment.json" in files["Containerfile"]
    assert '"bentoml", "serve", "cross"' in files["Containerfile"]
    said = Deployment.load(tmp_path / "out" / "deployment.json")
    assert (said.tag, said.mode, said.venue, said.symbols) == (version.tag, "live", "BINANCE", ["BTC-USDT"])
    (service,) = yaml.safe_load(files["compose.yaml"])["services"].values()
    assert service["ports"] == ["127.0.0.1:3001:3000"]
    assert set(service["environment"]) == {"QUANTAI_API_KEYS", "QUANTAI_BINANCE_KEY", "QUANTAI_BINANCE_SECRET"}
    assert all(re.fullmatch(rf"\$\{{{name}:\?.+\}}", value) for name, value in service["environment"].items())


def test_kubernetes_has_one_run_and_references_its_secrets(version: Version, tmp_path: Path) -> None:
    deploy("cross:v1", "kubernetes", tmp_path, bento=False, mode="live", image="registry.example:5000/x/cross:7")
    found = {path.name: yaml.safe_load(path.read_text()) for path in tmp_path.glob("*.yaml")}
    workload = found["workload.yaml"]
    assert (workload["spec"]["replicas"], workload["spec"]["strategy"]["type"]) == (1, "Recreate")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    secrets = {x["name"]: x["valueFrom"]["secretKeyRef"] for x in container["env"] if "valueFrom" in x}
    assert set(secrets) == {"QUANTAI_API_KEYS", "QUANTAI_BINANCE_KEY", "QUANTAI_BINANCE_SECRET"}
    assert {x["name"] for x in secrets.values()} == {"quantai-cross"}
    (image,) = found["kustomization.yaml"]["images"]
    assert (image["newName"], image["newTag"]) == ("registry.example:5000/x/cross", "7")
    if shutil.which("kubectl") is None:
        return
    built = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    objects = {one["kind"]: one for one in yaml.safe_load_all(built.stdout)}
    assert set(objects) == {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Service"}
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == objects["Service"]["spec"]["selector"]
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example:5000/x/cross:7"
    assert pod["volumes"][1]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"], "a change is rolled out"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(version: Version, tmp_path: Path) -> None:
    (unit,) = deploy("cross:v1", "systemd", tmp_path, mode="paper", cash=5e6, lake="/srv/lake")
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    said = [line for line in checked.stderr.splitlines() if unit.name in line]
    assert said == [], checked.stderr
    assert unit.name == "quantai-cross.service"
    start = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
    words = start.partition("=")[2].split()
    assert words[1:3] == ["serve", "cross:v1"]
    assert words[-6:] == ["--interval", "1m", "--cash", "5e+06", "--lake", "/srv/lake"]


def test_every_metric_of_rules_and_panels_is_one_that_is_exported(version: Version, tmp_path: Path) -> None:
    deploy("cross:v1", "grafana", tmp_path)
    rules: list[dict[str, Any]] = yaml.safe_load((tmp_path / "alerts.yaml").read_text())["groups"][0]["rules"]
    panels: list[dict[str, Any]] = json.loads((tmp_path / "dashboard.json").read_text())["panels"]
    queries = [rule["expr"] for rule in rules] + [t["expr"] for panel in panels for t in panel["targets"]]
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    exported = {f"{m.name}{end}" for m in METRICS for end in suffixes[m.kind]}
    named = {name for query in queries for name in re.findall(r"quantai_\w+", query)}
    assert named <= exported, named - exported
    shown = {name for t in panels for q in t["targets"] for name in re.findall(r"quantai_\w+", q["expr"])}
    left = {m.name for m in METRICS if not any(name.startswith(m.name) for name in shown | named)}
    assert left == {"quantai_run", "quantai_venue_reconnects"} & left, "every other metric is on a panel or in a rule"
    labels = {m.name: set(m.labels) for m in METRICS}
    for query in queries:
        for name, inside in re.findall(r"(quantai_\w+)\{([^}]*)\}", query):
            base = name if name in labels else name.rpartition("_")[0]
            assert set(re.findall(r"(\w+)=", inside)) <= labels[base], query
    scrape = yaml.safe_load((tmp_path / "prometheus.yaml").read_text())["scrape_configs"][0]
    assert scrape["authorization"]["credentials_file"]


def test_a_file_that_differs_is_left_alone(version: Version, tmp_path: Path) -> None:
    first = deploy("cross:v1", "grafana", tmp_path)
    assert deploy("cross:v1", "grafana", tmp_path) == first, "again is no trouble"
    (tmp_path / "alerts.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"alerts\.yaml says something else"):
        deploy("cross:v1", "grafana", tmp_path)
    assert (tmp_path / "alerts.yaml").read_text() == "mine"


def test_what_cannot_be_written_is_said(version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownName, match="did you mean 'compose'"):
        deploy("cross:v1", "compos", tmp_path)
    with pytest.raises(InputError, match="cannot stand in these files"):
        deploy("cross:v1", "systemd", tmp_path, venue="X\nExecStart=/bin/sh")
    with pytest.raises(UnknownName, match="mode"):
        deploy("cross:v1", "systemd", tmp_path, mode="lives")
    said = version.manifest | {"version": "v2"}
    other = version.folder.with_name("v2")
    shutil.copytree(version.folder, other, ignore=shutil.ignore_patterns(LIMITS))
    (other / MANIFEST).write_text(json.dumps(said | {"files": {LOCK: said["files"][LOCK]}}))
    with pytest.raises(InputError, match="has no limits of risk"):
        deploy("cross:v2", "systemd", tmp_path, mode="live")
    assert main(["deploy", "--target", "systemd", "--out", str(tmp_path / "x"), "cross:v1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == [str(tmp_path / "x" / "quantai-cross.service")]
    assert answer["secrets"] == ["QUANTAI_API_KEYS"]


def test_a_bento_of_another_version_is_neither_shipped_nor_overwritten(version: Version, tmp_path: Path) -> None:
    out = tmp_path / "out"
    deploy("cross:v1", "container", out, bento=False)
    for text, holds in (("cross:v0", "cross:v0"), ("", "no version")):
        with tarfile.open(out / "cross.bento", "w:gz") as packed:
            member = tarfile.TarInfo("./src/serving/model_tag.txt" if text else "./bento.yaml")
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
        with pytest.raises(InputError, match=f"cross.bento holds {holds}, not cross:v1"):
            deploy("cross:v1", "container", out)

"""The runbook says what to do about every alarm of the code and every rule that is deployed, and of no other."""

import re
from importlib.resources import files

import yaml

from quantai.execution.alarms import RECONCILED, Alarm
from tests.conftest import REPO

RUNBOOK = (REPO / "docs" / "runbook.md").read_text()
ALERTS = (files("quantai.notebook.deploy") / "templates" / "alerts.yaml").read_text()
RULES = yaml.safe_load(ALERTS)["groups"][0]["rules"]


def sections() -> dict[str, str]:
    parts = re.split(r"^### (\S+)\n", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_alarm_and_rule_has_a_section_and_nothing_else_has() -> None:
    assert list(sections()) == [*Alarm, *(rule["alert"] for rule in RULES)]
    assert [Alarm(name) for name in list(sections())[:6]] == list(RECONCILED), "the page says: the first six"


def test_each_alarm_says_what_it_means_what_to_look_at_and_what_to_do() -> None:
    for alarm in Alarm:
        for words in ("**It means**", "**Look at**", "**Do**"):
            assert words in sections()[alarm], (alarm, words)
    for rule in RULES[1:]:
        assert "**It means**" in sections()[rule["alert"]], rule["alert"]


def test_links_lead_to_sections() -> None:
    anchors = {name.lower() for name in sections()}
    linked = set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK))
    linked |= set(re.findall(r"runbook\.md#([\w-]+)", (REPO / "docs" / "monitoring.md").read_text()))
    named = {rule["annotations"]["runbook"].partition("#")[2] for rule in RULES} - {"{{ $labels.alarm }}"}
    assert linked | named <= anchors, (linked | named) - anchors

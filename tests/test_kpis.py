"""KPIs, alert rules and runbook agree, and promtool's unit tests of the rules pass."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

RULES = ROOT / "deploy/prometheus"
COLUMNS = ["KPI", "formula", "source", "threshold", "alert", "runbook"]
SEVERITIES = {"page", "ticket"}


def alerts() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    groups = yaml.safe_load((RULES / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def kpis() -> dict[str, dict[str, str]]:
    """The rows of the KPI tables by the name of the KPI."""
    rows: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for line in (ROOT / "docs/kpis.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or cells == COLUMNS:
            columns = cells
        elif columns and set(cells[0]) != {"-"}:
            rows[cells[0]] = dict(zip(columns, cells, strict=True))
    return rows


def anchors(document: str) -> set[str]:
    """The anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_rules_pass_their_unit_tests() -> None:
    """`make alerts` finds no error; it fails, and is not skipped, where promtool cannot be had."""
    done = subprocess.run(["sh", "scripts/get_promtool.sh"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    promtool = done.stdout.strip()
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml", "rules_days_test.yaml"]):
        done = subprocess.run([promtool, *arguments], cwd=RULES, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_a_unit_test() -> None:
    """Each alert is expected by a unit test, with its severity."""
    files = [yaml.safe_load((RULES / name).read_text()) for name in ("rules_test.yaml", "rules_days_test.yaml")]
    checks = [check for file in files for test in file["tests"] for check in test["promql_expr_test"]]
    expected = {label for check in checks for sample in check["exp_samples"] for label in [sample["labels"]]}
    fired = {re.sub(r"\W+", " ", label).split()[1] for label in expected}
    assert fired == set(alerts())


def test_every_kpi_has_formula_source_threshold_alert_and_runbook_entry() -> None:
    """No cell of the KPI tables is empty, and each names alerts that exist."""
    rows = kpis()
    assert len(rows) >= 25
    for name, row in rows.items():
        assert all(row[column] for column in COLUMNS), name
        assert re.findall(r"`(Fashion\w+)`", row["alert"]), name


def test_alerts_and_kpis_belong_to_each_other() -> None:
    """Every alert stands in one KPI's row, with the severity and the runbook entry of the rule."""
    named: dict[str, dict[str, str]] = {}
    for row in kpis().values():
        for alert, severity in _severities(row["alert"]):
            assert alert not in named, alert
            named[alert] = {"severity": severity, "runbook": re.findall(r"\]\((\S+)\)", row["runbook"])[0]}
    rules = alerts()
    assert set(named) == set(rules)
    for alert, row in named.items():
        assert rules[alert]["labels"]["severity"] == row["severity"], alert
        assert rules[alert]["annotations"]["runbook"] == f"docs/{row['runbook']}", alert


def _severities(cell: str) -> list[tuple[str, str]]:
    """The alerts of a cell, each with the severity in the next parentheses."""
    found = []
    for part, severity in re.findall(r"([^()]*)\((\w+)[^()]*\)", cell):
        assert severity in SEVERITIES, cell
        found += [(alert, severity) for alert in re.findall(r"`(Fashion\w+)`", part)]
    return found


@pytest.mark.parametrize("name", alerts())
def test_every_alert_leads_to_a_runbook_entry_that_names_it(name: str) -> None:
    """The link of an alert is a heading of the runbook, and that entry lists the alert as a symptom."""
    document, anchor = alerts()[name]["annotations"]["runbook"].split("#")
    assert anchor in anchors(document)
    text = (ROOT / document).read_text(encoding="utf-8")
    entries = {next(iter(re.findall(r"R\d+", entry))): entry for entry in text.split("\n## ")[1:]}
    assert f"`{name}`" in entries[anchor.split("-")[0].upper()]

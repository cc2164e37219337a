"""That `leasehold doctor` asks for exactly the rights that the Role and the ClusterRole grant (agent/rights.c against
agent/manifest/; that the chart grants the same as the manifest is test_chart.py's)."""

import re

import pytest
import yaml

from chart.chart import REPOSITORY, TEMPLATES, by_kind

pytestmark = pytest.mark.chart

LINE = re.compile(r'\{ "([^"]*)", "([^"]*)", "([^"]*)", (RIGHT_\w+), \{ ([^}]*) \},\s')
KINDS = {"RIGHT_NAMESPACE": "Role", "RIGHT_DAEMONSET": "Role", "RIGHT_CLUSTER": "ClusterRole"}


def asked():
    """{(kind, named, group, resource, verb)} of the doctor's table."""
    table = (REPOSITORY / "agent/rights.c").read_text()
    return {(KINDS[place], place == "RIGHT_DAEMONSET", group, resource + (f"/{sub}" if sub else ""), verb)
            for group, resource, sub, place, verbs in LINE.findall(table) for verb in re.findall(r'"(\w+)"', verbs)}


def granted(listed):
    return {(kind, "resourceNames" in rule, group, resource, verb)
            for kind in ("Role", "ClusterRole") for rule in by_kind(listed, kind)["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


def manifest():
    text = "\n".join(line for line in (TEMPLATES / "daemonset.yaml").read_text().splitlines()
                     if not re.fullmatch(r"@\w+@", line.strip()))
    return [o for o in yaml.safe_load_all(re.sub(r"@\w+@", "x", text)) if o and o["kind"] in ("Role", "ClusterRole")]


def test_the_doctor_asks_for_what_is_granted():
    assert len(asked()) > 10
    assert asked() == granted(manifest())


def test_the_doctor_asks_for_what_the_chart_grants(helm):
    assert asked() == granted(helm.template({"pool": ["203.0.113.10"]}))

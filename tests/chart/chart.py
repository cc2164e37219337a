"""Renders the chart and the manifest templates, for the tests of this directory."""

import os
import subprocess
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm/leasehold"
TEMPLATES = REPOSITORY / "agent/manifest"
BINARY = Path(os.environ.get("LEASEHOLD_BIN", REPOSITORY / "build/release/leasehold"))
VERSION = (REPOSITORY / "VERSION").read_text().strip()
NAMESPACE = "kube-system"
POOL = "203.0.113.10-203.0.113.50"


class HelmError(Exception):
    """helm ended with an error; the text is what it printed."""


class Helm:
    """Runs helm on the chart, with nothing kept outside of home."""

    def __init__(self, program, home):
        self.program = program
        self.environment = {**os.environ, **{f"HELM_{kind}_HOME": str(home)
                                             for kind in ("CACHE", "CONFIG", "DATA")}}

    def run(self, *arguments, values=None):
        """helm's output; values: an object that becomes a values file."""
        command = [self.program, *arguments]
        if values is not None:
            command += ["--values", "-"]
        done = subprocess.run(command, input=yaml.safe_dump(values), env=self.environment,
                              capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise HelmError(done.stdout + done.stderr)
        return done.stdout

    def template(self, values, namespace=NAMESPACE):
        """The objects that the chart makes from values."""
        text = self.run("template", "leasehold", CHART, "--namespace", namespace, values=values)
        return objects(text)


def objects(text):
    return [o for o in yaml.safe_load_all(text) if o]


def by_kind(listed, kind):
    """The one object of that kind."""
    found = [o for o in listed if o["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def config_of(listed):
    """The agent's configuration in the ConfigMap, lists as lists."""
    config = yaml.safe_load(by_kind(listed, "ConfigMap")["data"]["leasehold.yaml"])
    for key in ("pool", "interface", "api-server"):
        if isinstance(config.get(key), str):
            config[key] = config[key].split(",")
    return config


def fill(template, **values):
    """What `leasehold manifest` does to a template: puts values in place of @NAME@, and leaves out
    a line whose value is empty."""
    lines = []
    for line in (TEMPLATES / template).read_text().splitlines():
        names = [name for name in values if f"@{name}@" in line]
        if any(values[name] == "" for name in names):
            continue
        for name in names:
            line = line.replace(f"@{name}@", values[name])
        lines.append(line)
    text = "\n".join(lines)
    assert "@" not in text, "a placeholder without a value"
    return text

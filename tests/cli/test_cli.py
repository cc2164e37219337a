# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: help, errors all at once with their places, exit codes, manifests.

Needs no API server; root for two cases alone.
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LEASEHOLD_BIN", str(TOP / "build/release/leasehold"))


def run(*arguments, **kwargs):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=30, **kwargs)


COMMANDS = ["agent", "status", "handover", "doctor", "check-config", "cleanup", "manifest", "version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    r = run(command, "--help")
    assert r.returncode == 0 and r.stderr == ""
    assert f"Usage: leasehold {command}" in r.stdout and "xit codes:" in r.stdout
    assert max(map(len, r.stdout.splitlines())) <= 100


def test_help_names_all_commands_and_exit_codes():
    r = run("--help")
    assert r.returncode == 0
    for word in [*COMMANDS, "Exit codes"]:
        assert word in r.stdout


def test_every_agent_flag_has_a_line_with_its_default():
    out = run("agent", "--help").stdout
    for flag, default in {"lease-duration": "3s", "renew-interval": "750ms", "groups": "1", "namespace": "kube-system",
                          "load-balancer-class": "leasehold.io/vip", "dataplane": "nft", "state-dir": "/run/leasehold",
                          "sysctl": "report", "on-api-loss": "hold", "gate": "on", "interface-mode": "first", "interface-subnet": "strict",
                          "source-nat": "auto", "rank": "0", "announce": "arp", "ip-mode": "vip", "unmatched-ports": "reject",
                          "counters": "on", "forward-mark": "auto", "vip-port": "6443", "log-level": "info", "log-format": "text"}.items():
        line = next(l for l in out.splitlines() if l.strip().startswith(f"--{flag} "))
        assert f"(default {default})" in line
    for flag in ["kubeconfig", "api-server", "node-name", "interface", "interface-for", "interface-exclude", "pool", "default-class", "http-address",
                 "on-api-loss", "config", "vip", "router-interface", "router-allow", "router-admin"]:
        assert f"--{flag} " in out


def test_no_command_and_wrong_command():
    assert run().returncode == 2
    r = run("dance")
    assert r.returncode == 2 and "dance" in r.stderr


def test_version():
    r = run("version")
    assert r.returncode == 0 and r.stdout.startswith("leasehold " + (TOP / "VERSION").read_text().strip())


def test_all_errors_of_flags_at_once():
    r = run("check-config", "--pool", "192.0.2.9-192.0.2.1", "--lease-duration", "3", "--renew-interval=99h", "--log-level",
            "loud", "--node-name", "Not_A_Node", "--http-address", "nowhere", "--api-server", "http://192.0.2.1", "--what",
            "stray", "--state-dir", "relative", "--groups", "0", "--dataplane", "magic", "--namespace", "a/b",
            "--interface", "waytoolonginterfacename", "--announce", "loudly", "--ip-mode", "x", "--unmatched-ports", "eat",
            "--counters", "maybe", "--forward-mark", "no", "--vip", "224.0.0.1", "--vip-port", "0", "--router-interface", "lo",
            "--router-allow", "ssh,telnet", "--router-admin", "192.0.2.0", "--interface-for", "worker-1: eth1",
            "--interface-exclude", "eth/0", "--interface-mode", "both", "--interface-subnet", "loose")
    assert r.returncode == 2 and r.stdout == ""
    for part in ["--pool: ", "--lease-duration: ", "with a unit", "--renew-interval: ", "--log-level: ", "--node-name: ",
                 "--http-address: ", "--api-server: ", "--what: no such flag", "stray", "--state-dir: ", "--groups: ",
                 "--dataplane: ", "--namespace: ", "--interface: ", "--announce: ", "--ip-mode: ", "--unmatched-ports: ",
                 "--counters: ", "--forward-mark: ", "--vip: \"224.0.0.1\" is an address that no host may have",
                 "--vip-port: \"0\" is out of range (1 to 65535)", "--router-interface: \"lo\" is no public interface",
                 "--router-allow: \"ssh,telnet\" is none of", "--router-admin: \"192.0.2.0\" is not a CIDR",
                 "--interface-for: \"worker-1: eth1\" has a condition that is neither node/NAME nor label/KEY=VALUE",
                 "--interface-exclude: ", "--interface-mode: ", "--interface-subnet: "]:
        assert part in r.stderr, part


def test_file_errors_carry_line_numbers(tmp_path):
    f = tmp_path / "agent.yaml"
    f.write_text("node-name: node1\npool:\n  - 192.0.2.200-192.0.2.210\n  - 192.0.2.300\nrenew-interval: 1s\n"
                 "colour: blue\nlog-level: [info]\nlease-duration: 5\n")
    r = run("check-config", "--config", f)
    assert r.returncode == 2
    errors = r.stderr.splitlines()
    assert any(e.startswith(f"{f}:4: pool: \"192.0.2.300\"") for e in errors)
    assert any(e.startswith(f"{f}:6: colour: no such key") for e in errors)
    assert any(e.startswith(f"{f}:7: log-level: ") for e in errors)
    assert any(e.startswith(f"{f}:8: lease-duration: ") for e in errors)


RULES = """
node-name: worker-1
interface: auto
interface-exclude: []
interface-for:
  - node/worker-1: eth1 eth2
  - "node/edge-* & label/rack=b & label/uplink: bond0.7"
  - {node: worker-*, interface: eth1}
  - selector: {rack: a, topology.kubernetes.io/zone: east, uplink: ""}
    interface: [eth5, "bond*"]
  - node: other
    interface: auto
"""


def test_rules_for_interfaces(tmp_path):
    f = tmp_path / "agent.yaml"
    f.write_text(RULES)
    r = run("check-config", "--config", f)
    assert (r.returncode, r.stderr) == (0, "")


@pytest.mark.parametrize("rule, error", [
    ("{nod: a, interface: eth1}", "has a key that is none of node, selector and interface"),
    ("{node: worker-1}", "names no interface"),
    ("{interface: eth1}", "says neither node nor selector"),
    ("{node: [a], interface: eth1}", "node: is not the name of a node"),
    ('{node: "a: b", interface: eth1}', "node: is not the name of a node"),
    ("{node: Worker, interface: eth1}", "names no node behind node/"),
    ("{selector: {}, interface: eth1}", "selector: must be a map of labels"),
    ("{selector: rack=a, interface: eth1}", "selector: must be a map of labels"),
    ("{selector: {rack: [a]}, interface: eth1}", "selector: has a value that no label can have"),
    ("{selector: {rack: a b}, interface: eth1}", "selector: has a value that no label can have"),
    ('{selector: {"ra&ck": a}, interface: eth1}', "selector: has a key that is no label's"),
    ("{node: a, interface: []}", "names no interface"),
    ("{node: a, interface: [{}]}", "interface: must be a name or a list of names"),
    ("{node: a, interface: {eth0: eth1}}", "interface: must be a name or a list of names"),
    ("{node: a, interface: [auto, eth1]}", "names interfaces beside auto"),
    ("{node: a, interface: eth/1}", "names something that is no interface"),
    ("[a]", "must be a list of rules"),
    ("label/rack=a/b: eth0", "has a value that no label can have"),
    ("worker-1 eth0", "is not CONDITIONS: INTERFACES"),
])
def test_a_wrong_rule_is_named_by_its_line(tmp_path, rule, error):
    f = tmp_path / "agent.yaml"
    f.write_text(f"node-name: n\ninterface-for:\n  - node/a: eth0\n  - {rule}\n  - node/b: eth0\n")
    r = run("check-config", "--config", f)
    assert r.returncode == 2 and len(r.stderr.splitlines()) == 1, r.stderr
    assert r.stderr.startswith(f"{f}:4: interface-for: ") and error in r.stderr


@pytest.mark.parametrize("text", ["interface-for: {a: b}", "interface-for: {node: a}"])
def test_rules_are_a_list(tmp_path, text):
    f = tmp_path / "agent.yaml"
    f.write_text(f"node-name: n\n{text}\n")
    r = run("check-config", "--config", f)
    assert r.returncode == 2 and r.stderr == f"{f}:2: interface-for: must be a list of rules\n"


def test_the_rules_of_flags_stand_in_place_of_the_file_s(tmp_path):
    f = tmp_path / "agent.yaml"
    f.write_text("node-name: n\ninterface-for: nonsense\n")
    assert run("check-config", "--config", f, "--interface-for", "node/a: eth0, eth1").returncode == 0


def test_too_many_rules_and_labels():
    many = [word for i in range(257) for word in ("--interface-for", f"node/n{i}: eth0")]
    r = run("check-config", "--node-name", "n", *many)
    assert r.returncode == 2 and r.stderr == '--interface-for: "node/n256: eth0" is one rule too many: 256 are allowed\n'
    labels = [word for i in range(33) for word in ("--interface-for", f"label/l{i}: eth0")]
    r = run("check-config", "--node-name", "n", *labels)
    assert r.returncode == 2 and r.stderr == "interface-for: asks for more than 32 different labels\n"


@pytest.mark.parametrize("text, part", [
    ("a: b: c\n", ":1: "), ("pool: x\npool: y\n", "stands twice"), ("- a\n", "must be a map"), ("x: &a b\ny: *a\n", "alias"),
    ("\x00", "control characters"), ("a: {" * 40, "too deep"),
])
def test_files_that_are_no_configuration(tmp_path, text, part):
    f = tmp_path / "agent.yaml"
    f.write_text(text)
    r = run("check-config", "--config", f)
    assert r.returncode == 2 and str(f) in r.stderr
    assert part in r.stderr or "line 1" in r.stderr


def test_missing_and_huge_files(tmp_path):
    assert "No such file" in run("check-config", "--config", tmp_path / "none").stderr
    huge = tmp_path / "huge"
    huge.write_bytes(b"#" * (1 << 21))
    r = run("check-config", "--config", huge)
    assert r.returncode == 2 and "larger than" in r.stderr


def test_flags_win_over_the_file(tmp_path):
    f = tmp_path / "agent.yaml"
    f.write_text("node-name: node1\nlease-duration: nonsense\nrenew-interval: 200ms\n")
    assert run("check-config", "--config", f, "--lease-duration", "1s").returncode == 0


def test_relations_are_checked():
    r = run("check-config", "--node-name", "n", "--lease-duration", "1s", "--renew-interval", "500ms")
    assert r.returncode == 2 and "renew-interval: 500ms" in r.stderr and "1s" in r.stderr


ANNOUNCE_ONLY = ["--dataplane", "announce"]
ROUTED = ["--announce", "none"]


@pytest.mark.parametrize("flags, error", [
    (["--vip", "192.0.2.200", "--pool", "198.51.100.0/24", "--pool", "192.0.2.200-192.0.2.210"],
     "vip: 192.0.2.200 is in pool 192.0.2.200-192.0.2.210"),
    (["--vip", "2001:db8::1", "--pool", "2001:db8::/64"], "vip: 2001:db8::1 is in pool 2001:db8::/64"),
    (["--vip", "192.0.2.9", "--api-server", "https://192.0.2.9:6443"], "api-server: https://192.0.2.9:6443 is the vip itself"),
    (["--vip", "2001:db8::9", "--api-server", "https://[2001:db8:0::9]:6443"], "api-server: https://[2001:db8:0::9]:6443 is"),
    (["--interface", "eth0,auto"], "interface: auto stands alone"),
    (["--vip-port", "6443"], "vip-port: of no use without vip"),
    (["--vip", "192.0.2.9", *ANNOUNCE_ONLY], "vip: needs dataplane nft"),
    (["--vip", "192.0.2.9", *ROUTED], "vip: needs announce arp"),
    (["--gate", "on", *ROUTED], "gate: on needs announce arp"),
    ([*ROUTED, *ANNOUNCE_ONLY], "announce: none leaves nothing to do"),
    (["--announce", "bgp", *ANNOUNCE_ONLY], "announce: bgp needs dataplane nft"),
    (["--announce", "bgp", "--gate", "on"], "gate: on needs announce arp"),
    (["--announce", "bgp", "--drain-time", "2h"], "drain-time:"),
    (["--ip-mode", "proxy", *ANNOUNCE_ONLY], "ip-mode: proxy needs dataplane nft"),
    (["--unmatched-ports", "drop", *ANNOUNCE_ONLY], "unmatched-ports: drop needs dataplane nft"),
    (["--forward-mark", "on", *ANNOUNCE_ONLY], "forward-mark: on needs dataplane nft"),
    (["--router-interface", "eth0", *ANNOUNCE_ONLY], "router-interface: needs dataplane nft"),
    (["--router-allow", "ssh"], "router-allow: of no use without router-interface"),
    (["--router-admin", "192.0.2.0/24"], "router-admin: of no use without router-interface"),
    (["--router-interface", "eth0", "--router-admin", "0.0.0.0/0"], "router-admin: \"0.0.0.0/0\" is everybody"),
    (["--router-interface", ",".join(f"eth{i}" for i in range(17))], "router-interface: more than 16"),
])
def test_impossible_relations_are_refused(flags, error):
    r = run("check-config", "--node-name", "n", *flags)
    assert r.returncode == 2 and len(r.stderr.splitlines()) == 1, r.stderr
    assert r.stderr.removeprefix("--").startswith(error), r.stderr


def test_all_wrong_relations_are_told_at_once():
    r = run("check-config", "--node-name", "n", "--vip", "192.0.2.9", "--pool", "192.0.2.0/24", "--router-interface", "eth0",
            *ROUTED, *ANNOUNCE_ONLY)
    assert r.returncode == 2
    assert [line.split(":")[0] for line in r.stderr.splitlines()] == ["announce", "vip", "router-interface", "vip", "vip"]


@pytest.mark.parametrize("flags", [
    ["--vip", "192.0.2.9", "--vip-port", "443", "--pool", "192.0.2.200-192.0.2.210", "--api-server", "https://192.0.2.99:6443"],
    ["--interface", "auto", "--interface-exclude", ""], ["--interface", "eth*,bond?.7", "--interface-exclude", "eth9,wg*"],
    [*ROUTED, "--gate", "off"], [*ROUTED], ["--counters", "off", *ANNOUNCE_ONLY],
    ["--ip-mode", "proxy", "--unmatched-ports", "accept", "--forward-mark", "on"],
    ["--router-interface", "eth0,eth0,bond0.100", "--router-allow", "ssh,bgp,icmp,vrrp", "--router-admin", "192.0.2.0/24",
     "--router-admin", "192.0.2.128/25,2001:db8::/32"],
])
def test_these_go_together(flags):
    r = run("check-config", "--node-name", "n", *flags)
    assert (r.returncode, r.stderr) == (0, "")


def test_the_same_in_a_file(tmp_path):
    f = tmp_path / "agent.yaml"
    f.write_text("node-name: n\nvip: 192.0.2.9\nvip-port: 70000\nrouter-interface: [eth0]\nrouter-allow:\n  - ssh\n  - gopher\n"
                 "router-admin: 192.0.2.0/24,2001:db8::/129\ndataplane: announce\n")
    r = run("check-config", "--config", f)
    assert r.returncode == 2
    assert [line.split(": \"")[0] for line in r.stderr.splitlines()][:3] == [
        f"{f}:3: vip-port", f"{f}:7: router-allow", f"{f}:8: router-admin"]
    assert "\nvip: needs dataplane nft" in r.stderr and "\nrouter-interface: needs dataplane nft" in r.stderr


@pytest.mark.parametrize("policy", ["hold", "fence"])
def test_both_policies_are_real(policy):
    assert run("check-config", "--node-name", "n", "--on-api-loss", policy).returncode == 0


def test_handover_refuses_what_it_cannot_mean(tmp_path):
    for argv, part in [(["--what"], "--what"), (["99"], "99: not a group"), (["other-lease"], "other-lease: not a group"),
                       (["leasehold-a/b"], "not a group"), (["0", "1"], "1: no such flag"), (["--to"], "--to"),
                       (["--timeout", "5"], "--timeout: \"5\" is not a time"), (["--namespace", "a?b"], "--namespace: \"a?b\" is not a namespace"),
                       (["--to", ""], "--to: \"\" is not a node name"), (["--to", "a b"], "--to: \"a b\""),
                       (["--to", "--timeout", "2s"], "--to: no such flag, or its value is missing"),
                       (["leasehold-node-node1"], "not a group"), (["--namespace", ""], "--namespace: ")]:
        r = run("handover", *argv)
        assert r.returncode == 2 and part in r.stderr and r.stdout == "", argv
    r = run("handover", "--kubeconfig", tmp_path / "none")
    assert r.returncode == 1 and str(tmp_path / "none") in r.stderr


def doctor(tmp_path, *arguments):
    """`leasehold doctor --json` of a node without credentials: (exit code, findings)."""
    r = run("doctor", "--json", "--node-name", "n", "--state-dir", tmp_path, "--kubeconfig", tmp_path / "none", *arguments)
    assert r.stderr == ""
    found = json.loads(r.stdout)
    assert found["node"] == "n" and found["errors"] == sum(f["level"] == "error" for f in found["findings"])
    return r.returncode, found["findings"]


def test_doctor_refuses_what_it_cannot_mean():
    for argv, part in [(["--timeout", "5"], "--timeout: \"5\" is not a time"), (["--timeout", "61s"], "--timeout"),
                       (["--timeout"], "--timeout"), (["--probe", "192.0.2"], "--probe: \"192.0.2\""), (["--probe"], "--probe"),
                       (["--probe", "127.0.0.1"], "--probe"), (["--probe", "192.0.2.1"] * 17, "--probe: more than 16")]:
        r = run("doctor", *argv)
        assert r.returncode == 2 and part in r.stderr and r.stdout == "", argv


def test_doctor_tells_wrong_configuration_as_the_agent_would(tmp_path):
    f = tmp_path / "agent.yaml"
    f.write_text("pool: 192.0.2.300\nlease-duration: 3\n")
    code, found = doctor(tmp_path, "--config", f, "--frob")
    assert code == 2
    assert [x["what"].split(": ")[0] for x in found] == ["--frob", f"{f}:1", f"{f}:2"]
    assert all(x["section"] == "Configuration" and x["level"] == "error" for x in found)


def test_doctor_judges_for_the_configuration(tmp_path):
    code, found = doctor(tmp_path, "--pool", "192.0.2.200", "--interface", "no-such-link")
    assert code == 1
    pool, = [f for f in found if f["section"] == "Interfaces"]
    assert pool["level"] == "error" and "192.0.2.200" in pool["what"] and "no-such-link" in pool["means"]
    credentials, = [f for f in found if f["what"] == "no credentials for the API"]
    assert str(tmp_path / "none") in credentials["means"]
    _, routed = doctor(tmp_path, "--announce", "none", "--pool", "192.0.2.200")
    assert not [f for f in routed if f["section"] == "Interfaces" and f["level"] != "ok"]
    assert not [f for f in routed if f["what"].startswith("the gate")]


def test_doctor_for_people_fits_the_screen(tmp_path):
    r = run("doctor", "--node-name", "n", "--state-dir", tmp_path, "--kubeconfig", tmp_path / "none", "--pool", "192.0.2.200")
    lines = r.stdout.splitlines()
    assert "\033" not in r.stdout
    assert max(len(line) for line in lines if " $ " not in line and str(tmp_path) not in line) <= 100
    assert "Node and kernel" in lines and lines[-1].endswith("Nothing on this node was changed.")


def test_status_without_an_agent(tmp_path):
    r = run("status", "--state-dir", tmp_path)
    assert r.returncode == 4 and "no agent runs" in r.stderr


def test_one_agent_per_state_directory(tmp_path):
    with open(tmp_path / "agent.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        r = run("agent", "--node-name", "n", "--state-dir", tmp_path, "--kubeconfig", "/dev/null")
        assert r.returncode == 3 and "another agent runs" in r.stderr
        assert run("cleanup", "--state-dir", tmp_path).returncode == 3


def test_agent_without_credentials_says_so(tmp_path):
    r = run("agent", "--node-name", "n", "--state-dir", tmp_path, env={})
    assert r.returncode == 1 and "start_failed" in r.stderr


def test_manifests_are_yaml_and_filled():
    r = run("manifest", "--pool", "192.0.2.200-192.0.2.210", "--pool", "2001:db8::/120", "--interface", "eth0", "--namespace",
            "net", "--image", "registry.example/leasehold:1")
    assert r.returncode == 0 and "@" not in r.stdout
    kinds = [o["kind"] for o in yaml.safe_load_all(r.stdout) if o]
    for kind in ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "DaemonSet"]:
        assert kind in kinds
    pod = yaml.safe_load(run("manifest", "--static-pod", "--pool", "192.0.2.200").stdout)
    assert pod["kind"] == "Pod" and pod["spec"]["hostNetwork"]


NAMED = "import os, socket, sys; socket.sethostname(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"


def run_named(host, *arguments):
    """Run where the host has that name."""
    return subprocess.run(["unshare", "--uts", sys.executable, "-c", NAMED, host, PROGRAM, *arguments],
                          capture_output=True, text=True, timeout=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="another host name needs root")
@pytest.mark.parametrize("host", ["Node-1", "my_laptop"])
def test_manifest_does_not_mind_the_name_of_the_host(host):
    r = run_named(host, "manifest", "--pool", "192.0.2.200")
    assert r.returncode == 0 and r.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="another host name needs root")
def test_the_node_name_is_the_host_name_in_small_letters():
    assert run_named("Node-1", "check-config").stdout == "ok\n"
    r = run_named("my_laptop", "check-config")
    assert r.returncode == 2 and "my_laptop" in r.stderr


def test_manifest_configuration_is_one_the_agent_takes(tmp_path):
    out = run("manifest", "--pool", "192.0.2.200-192.0.2.210,2001:db8::/120").stdout
    config = next(o for o in yaml.safe_load_all(out) if o and o["kind"] == "ConfigMap")
    f = tmp_path / "agent.yaml"
    f.write_text(next(iter(config["data"].values())))
    r = run("check-config", "--config", f, "--node-name", "n")
    assert r.returncode == 0, r.stderr


@pytest.mark.parametrize("arguments", [[], ["--pool", "x"], ["--pool", "192.0.2.1", "--image", "a\"b"], ["--pool"],
                                       ["--pool", "192.0.2.1", "--namespace", "a\n---"], ["--frob"]])
def test_manifest_refuses_what_would_break_it(arguments):
    r = run("manifest", *arguments)
    assert r.returncode == 2 and r.stdout == "" and r.stderr

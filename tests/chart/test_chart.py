"""That the chart renders what it should for good values, refuses bad ones in words that help, and
agrees with `leasehold manifest` and with the agent's own options."""

import copy
import json
import os
import shutil
import subprocess

import pytest
import yaml

from chart.chart import (CHART, NAMESPACE, POOL, REPOSITORY, VERSION, HelmError, by_kind,
                         config_of, fill, objects)

pytestmark = pytest.mark.chart

GOLDEN = REPOSITORY / "tests/chart/golden"
VALUE_SETS = {
    "defaults": {"pool": [POOL]},
    "everything": {
        "pool": ["203.0.113.0/28", "2001:db8:1::/120", "198.51.100.7"],
        "interface": ["eth0", "bond0.7"], "interfaceExclude": ["eth9", "wg*"], "interfaceMode": "all", "interfaceSubnet": "any",
        "interfaceFor": [{"node": "edge-*", "interface": "eth1"},
                         {"selector": {"rack": "a", "example.com/uplink": ""}, "interface": ["bond0", "bond0.100"]}],
        "leaseDuration": "1.5s", "renewInterval": "250ms",
        "loadBalancerClass": "example.com/outside", "defaultClass": True,
        "dataplane": "announce", "conflictProbeRate": 0,
        "apiServers": ["https://192.0.2.11:6443", "https://[2001:db8::11]:6443"],
        "logLevel": "debug", "logFormat": "text",
        "image": {"repository": "registry.example.com:5000/net/leasehold",
                  "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "http": {"address": "", "port": 9105},
        "stateDir": "/var/run/leasehold",
        "serviceAccount": {"annotations": {"example.com/owner": "net"}},
        "admissionPolicy": {"enabled": True},
        "podAnnotations": {"example.com/a": "b"}, "podLabels": {"tier": "net"},
        "nodeSelector": {"example.com/edge": "yes"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "edge", "operator": "Exists"}]}]}}},
        "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "256Mi"}},
        "extraArgs": ["--log-level=warn"],
    },
    "edge": {
        "pool": ["203.0.113.0/28"], "announce": "arp", "announceRate": 300, "ipMode": "proxy", "unmatchedPorts": "drop", "counters": False,
        "forwardMark": "on", "vip": "192.0.2.9", "vipPort": 443, "routerInterface": ["eth1", "eth2"],
        "routerAllow": ["bgp", "icmp"], "routerAdmin": ["198.51.100.0/24", "2001:db8:2::/64"],
    },
    "routed": {"pool": ["203.0.113.0/28"], "announce": "none"},
    "bgp": {
        "pool": ["203.0.113.0/28", "2001:db8:f::/120", "198.51.100.7"], "announce": "bgp", "drainTime": "8s",
        "bgp": {"enabled": True, "image": "registry.example.com/bird:2", "peers": [
            {"address": "192.0.2.1", "asn": 64513}, {"address": "2001:db8::1", "asn": 4200000001, "multihop": 2}]},
    },
    "forwarding": {"pool": [POOL, "2001:db8:1::10"], "interface": "eth0",
                   "sysctlInit": {"enabled": True}},
}
every_set = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS.keys())


def pod_of(listed):
    return by_kind(listed, "DaemonSet")["spec"]["template"]["spec"]


def security(listed):
    """The parts of the objects that decide what an agent may do."""
    pod = pod_of(listed)
    return {
        "rights": {o["kind"]: o["rules"] for o in listed if o["kind"] in ("Role", "ClusterRole")},
        "bindings": {o["kind"]: {"roleRef": o["roleRef"], "subjects": o["subjects"]}
                     for o in listed if o["kind"].endswith("Binding") and "roleRef" in o},
        "pod": {key: value for key, value in sorted(pod.items())
                if key.startswith("host") or key in ("serviceAccountName", "securityContext",
                                                     "volumes", "shareProcessNamespace")},
        "containers": {c["name"]: {"securityContext": c["securityContext"],
                                   "volumeMounts": c["volumeMounts"]}
                       for c in [*pod.get("initContainers", []), *pod["containers"]]},
    }


def test_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION


def test_every_value_is_in_the_schema():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)


@every_set
def test_lint(helm, values):
    assert "0 chart(s) failed" in helm.run("lint", "--strict", CHART, values=values)


def test_excluded_interfaces_are_the_agent_s_unless_said(helm):
    assert "interface-exclude" not in config_of(helm.template({"pool": [POOL]}))
    assert config_of(helm.template({"pool": [POOL], "interfaceExclude": []}))["interface-exclude"] == []


@pytest.mark.parametrize("name", ["defaults", "forwarding", "bgp"])
def test_security(helm, name):
    """A change of rights is seen in the golden file; LEASEHOLD_GOLDEN=write takes it over."""
    path = GOLDEN / f"security-{name}.yaml"
    text = yaml.safe_dump(security(helm.template(VALUE_SETS[name])))
    if os.environ.get("LEASEHOLD_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@every_set
def test_only_two_capabilities(helm, values):
    pod = pod_of(helm.template(values))
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = container["securityContext"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert set(context["capabilities"]["add"]) <= ({"NET_BIND_SERVICE", "NET_RAW"} if container["name"] == "bird" else {"NET_ADMIN", "NET_RAW", "BPF"})
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False


def bird_config(listed):
    return next(o["data"]["bird.conf"] for o in listed if o["kind"] == "ConfigMap" and "bird.conf" in o.get("data", {}))


def test_bird_beside_the_agent(helm, tmp_path):
    """Its configuration names the pool and the routers, and is one that BIRD itself reads."""
    listed = helm.template(VALUE_SETS["bgp"])
    assert (config_of(listed)["announce"], config_of(listed)["drain-time"]) == ("bgp", "8s")
    text = bird_config(listed)
    assert "net ~ [ 203.0.113.0/28{32,32}, 198.51.100.7/32{32,32} ]" in text
    assert "net ~ [ 2001:db8:f::/120{128,128} ]" in text
    assert "neighbor 192.0.2.1 as 64513;" in text and "neighbor 2001:db8::1 as 4200000001;\n\tmultihop 2;" in text
    assert {c["name"]: c["image"] for c in pod_of(listed)["containers"]}["bird"] == "registry.example.com/bird:2"
    if not (bird := shutil.which("bird", path="/usr/sbin:/usr/bin")):
        pytest.skip("BIRD is not installed: what it says of the configuration is not known")
    (tmp_path / "bird.conf").write_text(text)
    done = subprocess.run([bird, "-p", "-c", tmp_path / "bird.conf"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bird_configuration_of_one_s_own(helm):
    values = copy.deepcopy(VALUE_SETS["bgp"])
    values["bgp"].update(config="protocol device {}\n", peers=[])
    assert bird_config(helm.template(values)).strip() == "protocol device {}"


@pytest.mark.parametrize("change, words", [
    ({"announce": "arp"}, "needs announce: bgp"), ({"bgp": {"image": ""}}, "bgp.image is empty"),
    ({"bgp": {"peers": []}}, "bgp.peers is empty"), ({"pool": ["203.0.113.1-203.0.113.9"]}, "bgp.prefixes"),
])
def test_a_bird_that_cannot_work_is_refused(helm, change, words):
    values = copy.deepcopy(VALUE_SETS["bgp"])
    for key, value in change.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    with pytest.raises(HelmError, match=words):
        helm.template(values)


def test_realtime_brings_its_capabilities(helm):
    objects = helm.template({**VALUE_SETS["defaults"], "realtime": True})
    added = [c["securityContext"]["capabilities"]["add"] for c in pod_of(objects)["containers"]]
    assert added == [["NET_ADMIN", "NET_RAW", "BPF", "SYS_NICE", "IPC_LOCK"]]
    assert config_of(objects)["realtime"] is True
    assert "realtime" not in config_of(helm.template(VALUE_SETS["defaults"]))


def test_values_arrive(helm):
    listed = helm.template(VALUE_SETS["everything"])
    config = config_of(listed)
    assert config["pool"] == VALUE_SETS["everything"]["pool"]
    assert config["interface"] == ["eth0", "bond0.7"]
    assert config["interface-for"] == VALUE_SETS["everything"]["interfaceFor"]
    assert (config["interface-exclude"], config["interface-mode"], config["interface-subnet"]) == (["eth9", "wg*"], "all", "any")
    assert config["api-server"] == ["https://192.0.2.11:6443", "https://[2001:db8::11]:6443"]
    assert config["http-address"] == ":9105"
    assert (config["lease-duration"], config["renew-interval"]) == ("1.5s", "250ms")
    assert (config["default-class"], config["dataplane"]) == (True, "announce")
    pod = pod_of(listed)
    agent = pod["containers"][0]
    assert agent["image"] == "registry.example.com:5000/net/leasehold@sha256:" + "0" * 64
    assert agent["args"][-1] == "--log-level=warn"
    assert agent["livenessProbe"]["httpGet"]["host"] == "127.0.0.1"
    assert agent["ports"][0]["containerPort"] == 9105
    assert pod["nodeSelector"]["example.com/edge"] == "yes"
    assert pod["affinity"] and pod["imagePullSecrets"] == [{"name": "registry"}]
    policy = next(o for o in listed if (o["kind"], o["metadata"]["name"]) == ("ValidatingAdmissionPolicy", "leasehold"))
    assert policy["spec"]["variables"][0]["expression"] == \
        "[cidr('203.0.113.0/28'), cidr('2001:db8:1::/120'), cidr('198.51.100.7/32')]"


def test_values_of_the_data_plane_arrive(helm):
    config = config_of(helm.template(VALUE_SETS["edge"]))
    assert {key: config[key] for key in ("announce", "announce-rate", "ip-mode", "unmatched-ports", "counters", "forward-mark", "gate", "vip",
                                         "vip-port", "router-interface", "router-allow", "router-admin")} == {
        "announce": "arp", "announce-rate": 300, "ip-mode": "proxy", "unmatched-ports": "drop", "counters": "off", "forward-mark": "on",
        "gate": "on", "vip": "192.0.2.9", "vip-port": 443, "router-interface": ["eth1", "eth2"],
        "router-allow": ["bgp", "icmp"], "router-admin": ["198.51.100.0/24", "2001:db8:2::/64"]}
    assert "gate" not in config_of(helm.template(VALUE_SETS["routed"]))
    assert "announce-rate" not in config_of(helm.template(VALUE_SETS["defaults"]))
    assert "vip-port" not in config_of(helm.template(VALUE_SETS["defaults"]))


def test_configuration_rolls_the_pods(helm):
    def checksum(values):
        template = by_kind(helm.template(values), "DaemonSet")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    values = VALUE_SETS["defaults"]
    assert checksum(values) == checksum(copy.deepcopy(values))
    assert checksum(values) != checksum({**values, "leaseDuration": "4s"})


@pytest.mark.parametrize("address, flag, host", [
    ("127.0.0.1", "127.0.0.1:7480", "127.0.0.1"),
    ("192.0.2.1", "192.0.2.1:7480", "192.0.2.1"),
    ("0.0.0.0", "0.0.0.0:7480", "127.0.0.1"),
    ("::", "[::]:7480", "::1"),
    ("2001:db8::1", "[2001:db8::1]:7480", "2001:db8::1"),
])
def test_http_address(helm, address, flag, host):
    listed = helm.template({"pool": [POOL], "http": {"address": address}})
    assert config_of(listed)["http-address"] == flag
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert pod_of(listed)["containers"][0][probe]["httpGet"]["host"] == host


@pytest.mark.parametrize("values, words", [
    ({}, ["pool is empty", "--set 'pool={203.0.113.10-203.0.113.50}'"]),
    ({"pool": []}, ["pool is empty"]),
    ({"pool": "203.0.113.0/28"}, ["/pool", "want array"]),
    ({"pool": ["web"]}, ["/pool/0", "'web'"]),
    ({"pool": [POOL], "leaseDuration": 3}, ["/leaseDuration", "want string"]),
    ({"pool": [POOL], "leaseDuration": "3"}, ["/leaseDuration", "'3' does not match"]),
    ({"pool": [POOL], "renewInterval": "-1s"}, ["/renewInterval"]),
    ({"pool": [POOL], "dataplane": "ipvs"}, ["/dataplane", "'nft'", "'announce'"]),
    ({"pool": [POOL], "announce": "ospf"}, ["/announce", "'bgp'"]),
    ({"pool": [POOL], "counters": "off"}, ["/counters", "want boolean"]),
    ({"pool": [POOL], "vip": "api.example.com"}, ["/vip"]),
    ({"pool": [POOL], "routerAllow": ["telnet"]}, ["/routerAllow/0", "'ssh'"]),
    ({"pool": [POOL], "routerAdmin": ["192.0.2.1"]}, ["/routerAdmin/0"]),
    ({"pool": [POOL], "onApiLoss": "pray"}, ["/onApiLoss", "'hold'"]),
    ({"pool": [POOL], "interface": ["a-name-that-is-too-long"]}, ["/interface"]),
    ({"pool": [POOL], "interfaceFor": [{"interface": "eth1"}]}, ["/interfaceFor/0", "'node'"]),
    ({"pool": [POOL], "interfaceFor": [{"node": "a"}]}, ["/interfaceFor/0", "'interface'"]),
    ({"pool": [POOL], "interfaceFor": [{"selector": {"rack": "a b"}, "interface": "eth1"}]}, ["/interfaceFor/0/selector/rack"]),
    ({"pool": [POOL], "interfaceMode": "both"}, ["/interfaceMode", "'all'"]),
    ({"pool": [POOL], "apiServers": ["http://192.0.2.11:6443"]}, ["/apiServers/0"]),
    ({"pool": [POOL], "http": {"port": 0}}, ["/http/port", "minimum"]),
    ({"pool": [POOL], "image": {"digest": "latest"}}, ["/image/digest"]),
    ({"pool": [POOL], "lease": "3s"}, ["additional properties 'lease' not allowed"]),
    ({"pool": [POOL], "sysctlInit": {"enable": True}}, ["/sysctlInit", "'enable' not allowed"]),
    ({"pool": [POOL], "sysctl": "manage"}, ["/proc/sys is read-only", "sysctlInit.enabled=true"]),
    ({"pool": [POOL], "admissionPolicy": {"enabled": True}},
     [f'"{POOL}" is a range', "admissionPolicy.ranges"]),
    ({"pool": [POOL], "extraArgs": ["debug"]}, ["/extraArgs/0"]),
])
def test_bad_values_are_refused(helm, values, words):
    with pytest.raises(HelmError) as error:
        helm.template(values)
    for word in words:
        assert word in str(error.value)


def plain(listed):
    """Objects as a comparison needs them: without what helm alone adds, lists in one form."""
    listed = copy.deepcopy(listed)
    for one in listed:
        labels = one["metadata"].get("labels", {})
        labels.pop("helm.sh/chart", None)
        labels.pop("app.kubernetes.io/managed-by", None)
        if one["kind"] == "ConfigMap":
            one["data"]["leasehold.yaml"] = config_of([one])
        if one["kind"] == "DaemonSet":
            one["spec"]["template"]["metadata"].get("annotations", {}).pop("checksum/config", None)
            if not one["spec"]["template"]["metadata"].get("annotations"):
                one["spec"]["template"]["metadata"].pop("annotations", None)
    return {(one["kind"], one["metadata"]["name"]): one for one in listed}


FILLED = {"NAMESPACE": NAMESPACE, "VERSION": VERSION, "IMAGE": f"localhost/leasehold:{VERSION}",
          "POOLS": "203.0.113.0/28,2001:db8:1::"}


def test_daemonset_template_is_the_chart(helm):
    for interfaces in ("", "eth0,eth1"):
        values = {"pool": FILLED["POOLS"].split(",")}
        if interfaces:
            values["interface"] = interfaces.split(",")
        filled = objects(fill("daemonset.yaml", **FILLED, INTERFACES=interfaces))
        assert plain(filled) == plain(helm.template(values))


def test_static_pod_template_has_the_chart_s_container(helm):
    pod = objects(fill("static-pod.yaml", **FILLED, INTERFACES=""))[0]["spec"]
    agent = pod["containers"][0]
    chart = pod_of(helm.template({"pool": FILLED["POOLS"].split(",")}))
    for key in ("hostNetwork", "dnsPolicy", "priorityClassName", "terminationGracePeriodSeconds"):
        assert pod[key] == chart[key]
    for key in ("image", "securityContext", "ports", "startupProbe", "livenessProbe",
                "readinessProbe", "resources"):
        assert agent[key] == chart["containers"][0][key]
    assert "--pool=203.0.113.0/28,2001:db8:1::" in agent["args"]
    assert not [a for a in agent["args"] if "interface" in a]
    assert "serviceAccountName" not in pod


def test_manifest_command_is_the_chart(helm, binary):
    pool = ["203.0.113.0/28", "2001:db8:1::"]
    done = subprocess.run([binary, "manifest", "--namespace", NAMESPACE,
                           *(word for one in pool for word in ("--pool", one))],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert plain(objects(done.stdout)) == plain(helm.template({"pool": pool}))


@every_set
def test_the_agent_takes_the_configuration(helm, binary, values, tmp_path):
    """The chart's keys are options, and its values are good ones."""
    path = tmp_path / "leasehold.yaml"
    path.write_text(by_kind(helm.template(values), "ConfigMap")["data"]["leasehold.yaml"])
    done = subprocess.run([binary, "check-config", "--config", path, "--node-name", "node-a"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agent_has_the_flags_of_the_static_pod(binary, tmp_path):
    pod = objects(fill("static-pod.yaml", **FILLED, INTERFACES="eth0"))[0]["spec"]
    flags = [a.replace("$(NODE_NAME)", "node-a") for a in pod["containers"][0]["args"][1:]]
    done = subprocess.run([binary, "check-config", *flags], capture_output=True, text=True,
                          timeout=30, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


UNIT = REPOSITORY / "agent/leasehold.service"


def test_unit_has_the_chart_s_capabilities(helm):
    unit = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line
                and not line.startswith("#"))
    wanted = pod_of(helm.template(VALUE_SETS["defaults"]))["containers"][0]["securityContext"]
    assert unit["CapabilityBoundingSet"].split() == \
        [f"CAP_{name}" for name in wanted["capabilities"]["add"]]
    assert unit["NoNewPrivileges"] == "yes"


def test_unit_is_one(tmp_path):
    """Every line means something to systemd, which otherwise would ignore it in silence."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze here (package systemd)")
    copied = tmp_path / "leasehold.service"
    # It also looks whether the program is there.
    copied.write_text(UNIT.read_text().replace("/usr/bin/leasehold", "/bin/true"))
    done = subprocess.run([verify, "verify", copied], capture_output=True, text=True, timeout=60,
                          check=False)
    # Other units of the machine are not our business.
    about_ours = [line for line in (done.stdout + done.stderr).splitlines()
                  if line.startswith((str(copied), "leasehold.service"))]
    assert about_ours == []

"""What the real server does to a Service: defaults, addresses and node ports, dropped fields,
rules.  Facts from the real server's service registry and validation of 1.35."""

import ipaddress
import re

from .errors import bad_value, duplicate, invalid, not_allowed, not_supported, required
from .resources import SERVICES

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
QUALIFIED = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}"
                       r"[A-Za-z0-9])?")
PROTOCOLS = ("TCP", "UDP", "SCTP")
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
NODE_PORTS = range(30000, 32768)


def family(address):
    """IPv4 or IPv6, or None if it is no address in its usual form."""
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return None


def is_external(spec):
    """Reachable from outside by a node port or load balancer."""
    return spec.get("type") in ("NodePort", "LoadBalancer") or (
        spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def _needs_health_port(spec):
    return spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def default(obj):
    """Fills in what depends on the object alone."""
    spec = obj["spec"]
    spec.setdefault("type", "ClusterIP")
    affinity = spec.setdefault("sessionAffinity", "None")
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort", 0) in (0, ""):
            port["targetPort"] = port["port"]
    if is_external(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] in TYPES[:3]:
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in obj["status"]["loadBalancer"].get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def keep_allocated(new, old):
    """Carries over what an update may leave out: addresses and node ports it was given."""
    spec, was = new["spec"], old["spec"]
    if "ExternalName" not in (spec["type"], was["type"]):
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and was.get(field):
                spec[field] = was[field]
    node_types = ("NodePort", "LoadBalancer")
    if spec["type"] in node_types and was["type"] in node_types:
        mine = {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
        by_name = {p.get("name", ""): p.get("nodePort") for p in was.get("ports") or ()}
        for port in spec.get("ports") or ():
            had = by_name.get(port.get("name", ""))
            if not port.get("nodePort") and had and had not in mine:
                port["nodePort"] = had
    if _needs_health_port(spec) and _needs_health_port(was) and "healthCheckNodePort" in was:
        spec.setdefault("healthCheckNodePort", was["healthCheckNodePort"])


def drop_by_type(new, old):
    """Clears what no longer applies after a change of type, unless the user changed it too."""
    spec, was = new["spec"], old["spec"]

    def drop(*fields):
        for field in fields:
            if spec.get(field) == was.get(field):
                spec.pop(field, None)

    if spec["type"] == "ExternalName" != was["type"]:
        drop("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    node_types = ("NodePort", "LoadBalancer")
    if was["type"] in node_types and spec["type"] not in node_types:
        had = {p.get("nodePort") for p in was.get("ports") or ()}
        if all(p.get("nodePort") in had | {None} for p in spec.get("ports") or ()):
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
    if _needs_health_port(was) and not _needs_health_port(spec):
        drop("healthCheckNodePort")
    if was["type"] == "LoadBalancer" != spec["type"]:
        drop("allocateLoadBalancerNodePorts", "loadBalancerClass")
    if is_external(was) and not is_external(spec):
        drop("externalTrafficPolicy")
    if spec["type"] != "LoadBalancer":
        new["status"]["loadBalancer"] = {}


class Allocator:
    """Cluster addresses and node ports, unique among all Services of a store."""

    def __init__(self, store, ranges):
        self._store = store
        self._nets = {f"IPv{n.version}": n for n in map(ipaddress.ip_network, ranges)}
        self.first_family = next(iter(self._nets))
        self._next = {f: 10 for f in self._nets}
        self.first_address = str(self._nets[self.first_family][1])
        self._next_port = 0

    def _used(self, but):
        addresses, ports = set(), set()
        for entry in self._store.table(SERVICES).entries.values():
            if entry.key != but:
                spec = entry.obj["spec"]
                addresses.update(spec.get("clusterIPs") or ())
                ports.update((p["protocol"], p["nodePort"]) for p in spec.get("ports") or ()
                             if p.get("nodePort"))
                if spec.get("healthCheckNodePort"):
                    ports.add(("TCP", spec["healthCheckNodePort"]))
        return addresses, ports

    def _address(self, wanted, used):
        net = self._nets[wanted]
        span = min(net.num_addresses - 2, 1 << 16)
        for _ in range(span):
            address = str(net[1 + self._next[wanted] % span])
            self._next[wanted] += 1
            if address not in used:
                return address
        raise ValueError("no free cluster address")

    def _port(self, protocol, used):
        for _ in NODE_PORTS:
            port = NODE_PORTS[self._next_port % len(NODE_PORTS)]
            self._next_port += 7
            if (protocol, port) not in used:
                used.add((protocol, port))
                return port
        raise ValueError("no free node port")

    def _families(self, spec):
        if "ipFamilyPolicy" not in spec:
            headless = spec.get("clusterIP") == "None" and not spec.get("selector")
            spec["ipFamilyPolicy"] = "RequireDualStack" if headless else "SingleStack"
        families = spec.setdefault("ipFamilies", [])
        for address in (spec.get("clusterIPs") or ())[len(families):]:
            if address != "None":
                families.append(family(address))
        if not families:
            families.append(self.first_family)
        policy = spec["ipFamilyPolicy"]
        if policy == "SingleStack":
            del families[1:]
            if spec.get("clusterIPs"):
                spec["clusterIPs"] = spec["clusterIPs"][:1]
        elif len(families) == 1 and (len(self._nets) == 2 or spec.get("clusterIP") == "None"):
            families.append("IPv6" if families[0] == "IPv4" else "IPv4")
        return families

    def fill(self, obj, key):
        """Gives a Service the addresses and ports it needs; 422 if it asks for what cannot be."""
        spec = obj["spec"]
        if spec["type"] == "ExternalName":
            return
        used, used_ports = self._used(key)
        errors = []
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        asked_families = list(spec.get("ipFamilies") or ())
        if spec.get("ipFamilyPolicy") == "SingleStack" and len(asked_families) > 1:
            spec["ipFamilies"] = asked_families[:1]
        families = self._families(spec)
        if spec.get("clusterIP") != "None":
            if spec["ipFamilyPolicy"] == "RequireDualStack" and len(self._nets) < 2:
                errors.append(bad_value("spec.ipFamilyPolicy", "RequireDualStack", "this cluster "
                                        "is not configured for dual-stack services"))
            for i, name in enumerate(families):
                if name not in self._nets:
                    errors.append(bad_value(f"spec.ipFamilies[{i}]", name,
                                            "not configured on this cluster"))
            addresses = list(spec.get("clusterIPs") or ())
            for i, address in enumerate(addresses):
                if address in used:
                    errors.append(bad_value("spec.clusterIPs", addresses, "failed to allocate IP "
                                            f"{address}: provided IP is already allocated"))
                elif families[i] in self._nets and (
                        ipaddress.ip_address(address) not in self._nets[families[i]]):
                    errors.append(bad_value("spec.clusterIPs", addresses, "failed to allocate IP "
                                            f"{address}: the provided network does not match"))
            if not errors:
                addresses += [self._address(f, used) for f in families[len(addresses):]]
                spec["clusterIP"], spec["clusterIPs"] = addresses[0], addresses
        self._fill_ports(spec, used_ports, errors)
        if errors:
            raise invalid("Service", "", obj["metadata"]["name"], errors)

    def _fill_ports(self, spec, used, errors):
        wanted = spec["type"] == "NodePort" or (
            spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts"))
        for i, port in enumerate(spec.get("ports") or ()):
            given = port.get("nodePort")
            if given and ((port["protocol"], given) in used or given not in NODE_PORTS):
                why = ("provided port is already allocated" if given in NODE_PORTS else
                       "provided port is not in the valid range. The range of valid ports is "
                       "30000-32767")
                errors.append(bad_value(f"spec.ports[{i}].nodePort", given, why))
            elif given:
                used.add((port["protocol"], given))
        by_port = {p["port"]: p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
        for port in spec.get("ports") or ():
            if not wanted or port.get("nodePort"):
                continue
            # The same port over another protocol gets the same node port.
            same = (port["protocol"], by_port.get(port["port"]))
            if same[1] and same not in used:
                port["nodePort"] = same[1]
                used.add(same)
            else:
                port["nodePort"] = self._port(port["protocol"], used)
            by_port[port["port"]] = port["nodePort"]
        if _needs_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = self._port("TCP", used)


def _port_errors(spec):
    errors = []
    ports = spec.get("ports") or []
    names, pairs = set(), set()
    for i, port in enumerate(ports):
        path = f"spec.ports[{i}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            errors.append(required(path + ".name"))
        elif name and not LABEL.fullmatch(name):
            errors.append(bad_value(path + ".name", name, "a lowercase RFC 1123 label must consist"
                                    " of lower case alphanumeric characters or '-'"))
        elif name in names:
            errors.append(duplicate(path + ".name", name))
        names.add(name)
        if not 1 <= port["port"] <= 65535:
            errors.append(bad_value(path + ".port", port["port"],
                                    "must be between 1 and 65535, inclusive"))
        if port["protocol"] not in PROTOCOLS:
            errors.append(not_supported(path + ".protocol", port["protocol"], PROTOCOLS))
        target = port["targetPort"]
        if isinstance(target, int) and not 1 <= target <= 65535:
            errors.append(bad_value(path + ".targetPort", target,
                                    "must be between 1 and 65535, inclusive"))
        elif isinstance(target, str) and not re.fullmatch(r"(?=.*[a-z])(?!.*--)[a-z0-9]"
                                                          r"([a-z0-9-]{0,13}[a-z0-9])?", target):
            errors.append(bad_value(path + ".targetPort", target, "must contain at least one "
                                    "letter and be no more than 15 characters"))
        pair = (port["protocol"], port["port"])
        if pair in pairs:
            errors.append(duplicate(path, {"protocol": pair[0], "port": pair[1]}))
        pairs.add(pair)
        if port.get("nodePort") and spec["type"] == "ClusterIP":
            errors.append(not_allowed(path + ".nodePort",
                                      "may not be used when `type` is 'ClusterIP'"))
    return errors


def _balancer_errors(spec, was):
    errors = []
    only = "may only be used when `type` is 'LoadBalancer'"
    balancer = spec["type"] == "LoadBalancer"
    cls = spec.get("loadBalancerClass")
    if balancer and was and was["type"] == "LoadBalancer" and was.get("loadBalancerClass") != cls:
        errors.append(bad_value("spec.loadBalancerClass", cls, "may not change once set"))
    if cls is not None and not balancer:
        errors.append(not_allowed("spec.loadBalancerClass", only))
    elif cls == "":
        errors += [bad_value("spec.loadBalancerClass", cls, "name part must be non-empty")] * 2
    elif cls is not None and not QUALIFIED.fullmatch(cls):
        errors.append(bad_value("spec.loadBalancerClass", cls, "name part must consist of "
                                "alphanumeric characters, '-', '_' or '.'"))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balancer:
        errors.append(not_allowed("spec.allocateLoadBalancerNodePorts", only))
    for i, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if not balancer:
            errors.append(not_allowed("spec.LoadBalancerSourceRanges", only))
            break
        try:
            ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            errors.append(bad_value(f"spec.LoadBalancerSourceRanges[{i}]", text, "must be a valid "
                                    "CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
    return errors


def _policy_errors(spec):
    errors = []
    external = spec.get("externalTrafficPolicy")
    if external and not is_external(spec):
        errors.append(bad_value("spec.externalTrafficPolicy", external,
                                "may only be set for externally-accessible services"))
    elif external and external not in ("Cluster", "Local"):
        errors.append(not_supported("spec.externalTrafficPolicy", external, ("Cluster", "Local")))
    if spec.get("healthCheckNodePort") and not _needs_health_port(spec):
        errors.append(bad_value("spec.healthCheckNodePort", spec["healthCheckNodePort"], "may only"
                                " be set when `type` is 'LoadBalancer' and "
                                "`externalTrafficPolicy` is 'Local'"))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in ("Cluster", "Local"):
        errors.append(not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    if spec["sessionAffinity"] not in ("None", "ClientIP"):
        errors.append(not_supported("spec.sessionAffinity", spec["sessionAffinity"],
                                    ("None", "ClientIP")))
    elif spec["sessionAffinity"] == "ClientIP":
        seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
        if not 0 < seconds <= 86400:
            errors.append(bad_value("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds,
                                    "must be greater than 0 and less than 86400"))
    policy = spec.get("ipFamilyPolicy")
    choices = ("SingleStack", "PreferDualStack", "RequireDualStack")
    if policy is not None and policy not in choices:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, choices))
    for i, name in enumerate(spec.get("ipFamilies") or ()):
        if name not in ("IPv4", "IPv6"):
            errors.append(not_supported(f"spec.ipFamilies[{i}]", name, ("IPv4", "IPv6")))
    return errors


def check(new, old):
    """The rules of the spec, before addresses are given out."""
    spec, was = new["spec"], old["spec"] if old else None
    headless = spec.get("clusterIP") == "None"
    errors = []
    if spec["type"] not in TYPES:
        errors.append(not_supported("spec.type", spec["type"], TYPES))
    if not spec.get("ports") and not headless and spec["type"] != "ExternalName":
        errors.append(required("spec.ports"))
    if headless and spec["type"] in ("LoadBalancer", "NodePort"):
        errors.append(bad_value("spec.clusterIPs[0]", "None",
                                f"may not be set to 'None' for {spec['type']} services"))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        errors.append(required("spec.externalName"))
    for i, address in enumerate(spec.get("clusterIPs") or ()):
        if address != "None" and not family(address):
            errors.append(bad_value(f"spec.clusterIPs[{i}]", address,
                                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                                    ))
    for i, address in enumerate(spec.get("externalIPs") or ()):
        if not family(address):
            errors.append(bad_value(f"spec.externalIPs[{i}]", address,
                                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                                    ))
    if was and was.get("clusterIP") and spec.get("clusterIP") and (
            "ExternalName" not in (spec["type"], was["type"])):
        if was["clusterIP"] != spec["clusterIP"]:
            errors.append(bad_value("spec.clusterIPs[0]", spec.get("clusterIPs"),
                                    "may not change once set"))
    return errors + _port_errors(spec) + _balancer_errors(spec, was) + _policy_errors(spec)


def check_status(obj):
    """The rules of status.loadBalancer."""
    ingress = obj["status"]["loadBalancer"].get("ingress") or ()
    path = "status.loadBalancer.ingress"
    if ingress and obj["spec"]["type"] != "LoadBalancer":
        return [not_allowed(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    errors = []
    for i, item in enumerate(ingress):
        at = f"{path}[{i}]"
        if item.get("ip") and not family(item["ip"]):
            errors.append(bad_value(at + ".ip", item["ip"], "must be a valid IP address, "
                                    "(e.g. 10.9.8.7 or 2001:db8::ffff)"))
        mode = item.get("ipMode")
        if mode is not None and not item.get("ip"):
            errors.append(not_allowed(at + ".ipMode", "may not be specified when `ip` is not set"))
        elif mode is not None and mode not in ("VIP", "Proxy"):
            errors.append(not_supported(at + ".ipMode", mode, ("VIP", "Proxy")))
        name = item.get("hostname", "")
        if name and family(name):
            errors.append(bad_value(at + ".hostname", name,
                                    "must be a DNS name, not an IP address"))
    return errors

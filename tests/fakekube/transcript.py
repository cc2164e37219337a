"""A conversation with an API server, written down so that two servers can be compared.

Each step is one request; what is written down is the code, the reason and the whole answer, with
everything that must differ between two servers (uids, times, versions, allocated addresses and
ports) replaced by a name.  Versions are replaced by their order of appearance, so that "unchanged"
and "changed" stay visible.  Of errors, everything counts but their wording.
"""

import json
import re

from kube.client import PATCH_TYPES, ApiError

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
SERVICES = "/api/v1/namespaces/{ns}/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"
EVENTS = "/apis/events.k8s.io/v1/namespaces/{ns}/events"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MICRO = "2031-02-03T04:05:06.000007Z"


def lease(name, **spec):
    """A Lease as the agent writes it."""
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": "a", "leaseDurationSeconds": 3, **spec}}


def service(name, **spec):
    """A Service of type LoadBalancer, unless told otherwise."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}}


def endpoint_slice(name, **fields):
    """An EndpointSlice with one endpoint."""
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["198.51.100.7"]}],
            "ports": [{"port": 8080}], **fields}


def event(name, namespace, **fields):
    """An Event about a Service."""
    return {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
            "eventTime": MICRO, "reportingController": "leasehold.io/agent",
            "reportingInstance": "node1", "action": "Assign", "reason": "Assigned",
            "regarding": {"kind": "Service", "namespace": namespace, "name": "web"},
            "note": "hello", "type": "Normal", **fields}


def _without_wording(status):
    if not isinstance(status, dict):
        return "text"
    out = {k: v for k, v in status.items() if k not in ("message", "metadata")}
    details = {k: v for k, v in (out.pop("details", None) or {}).items() if k != "causes"}
    causes = (status.get("details") or {}).get("causes") or ()
    out["details"] = {**details, "causes": [[c.get("reason"), c.get("field")] for c in causes]}
    return out


class Transcript:
    """Asks one server, and keeps what it said in comparable form."""

    def __init__(self, api, namespace):
        self._api = api
        self._namespace = namespace
        self._versions = {}
        self._uids = {}
        self.lines = []

    def ask(self, method, path, body=None, kind=None, **query):
        """One request; the raw answer."""
        content = PATCH_TYPES.get(kind, kind) or "application/json"
        path = path.replace("{ns}", self._namespace)
        try:
            answer = self._api.request(method, path, body, content, query)
            code = 200
        except ApiError as error:
            answer, code = error.body, error.status
        told = answer if code == 200 else _without_wording(answer)
        line = f"{method} {path} {sorted(query.items())} -> {code}"
        self.lines.append((line.replace(self._namespace, "NS"), self._clean(told, "")))
        return answer

    def _number(self, table, value, what):
        return table.setdefault(value, f"{what}-{len(table) + 1}")

    def _clean(self, value, key):
        if isinstance(value, dict):
            if "items" in value:
                # Other writers move the version of a list along.
                value = {**value, "metadata": {**value["metadata"], "resourceVersion": None}}
            return {k: self._clean(v, k) for k, v in value.items()
                    if k not in ("managedFields", "creationTimestamp", "selfLink")}
        if isinstance(value, list):
            return [self._clean(v, key) for v in value]
        if key == "resourceVersion" and value:
            return self._number(self._versions, value, "version")
        if key == "uid":
            return self._number(self._uids, value, "uid")
        if key in ("clusterIP", "clusterIPs") and value != "None":
            return "cluster-address-6" if ":" in value else "cluster-address-4"
        if key in ("nodePort", "healthCheckNodePort"):
            return "node-port"
        if key == "deletionTimestamp":
            return "time"
        if key == "continue":
            return "token"
        if isinstance(value, str):
            value = value.replace(self._namespace, "NS")
            if key == "name":
                value = re.sub(r"^web([.-])[a-z0-9]{5}$", r"web\1RANDOM", value)
            return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", value)
        return value


def _leases(t):
    ask, path = t.ask, LEASES
    ask("GET", path + "/a")
    made = ask("POST", path, lease("a", acquireTime=MICRO, renewTime=MICRO, leaseTransitions=0))
    ask("POST", path, lease("a"))
    made["spec"]["holderIdentity"] = "b"
    second = ask("PUT", path + "/a", made)
    ask("PUT", path + "/a", made)                   # the version is old now
    ask("PUT", path + "/a", second)                 # nothing changes
    ask("GET", path + "/a")
    without = {**second, "metadata": {"name": "a"}}
    ask("PUT", path + "/a", without)
    ask("PUT", path + "/made-by-put", lease("made-by-put"))
    ask("PUT", path + "/other", lease("a"))
    ask("PUT", path + "/a", {**second, "metadata": {**second["metadata"], "uid": "no"}})
    for spec in ({"leaseDurationSeconds": 0}, {"leaseDurationSeconds": -1},
                 {"leaseTransitions": -1}, {"leaseDurationSeconds": "3"},
                 {"leaseDurationSeconds": 3.5}, {"holderIdentity": 5},
                 {"renewTime": "2031-02-03T04:05:06Z"}, {"renewTime": "2031-02-03T04:05:06.123Z"},
                 {"renewTime": "2031-02-03T04:05:06.123456789Z"}, {"renewTime": "tomorrow"},
                 {"renewTime": "2031-02-03T06:05:06.000007+02:00"}, {"preferredHolder": "x"}):
        ask("POST", path, lease("x", **spec))
        ask("DELETE", path + "/x")
    ask("POST", path, lease("empty", holderIdentity="", leaseTransitions=0))
    ask("POST", path, {"kind": "Lease", "metadata": {"name": "bare"}})
    ask("POST", path, lease("unknown-field", colour="red"))
    ask("POST", path, lease("UPPER"))
    ask("POST", path, {"spec": {}})
    ask("POST", path, {**lease("set"), "metadata": {"name": "set", "resourceVersion": "7"}})
    ask("PUT", path + "/set2", {**lease("set2"), "metadata": {
        "name": "set2", "resourceVersion": "7"}})
    ask("PUT", path + "/set3", {**lease("set3"), "metadata": {"name": "set3", "uid": "u-1"}})
    ask("POST", path, {**lease("x"), "kind": "Service"})
    ask("POST", path, {**lease("x"), "metadata": {"name": "x", "namespace": "default"}})
    ask("POST", path, "{not json")
    ask("POST", path, lease("x"), kind="text/plain")
    ask("POST", path.replace("{ns}", "no-such-namespace"), lease("x"))
    current = ask("GET", path + "/a")
    ask("PATCH", path + "/a", {"metadata": {"annotations": {"leasehold.io/duration-ms": "700"}}},
        kind="merge")
    ask("PATCH", path + "/a", {"metadata": {"resourceVersion": current["metadata"][
        "resourceVersion"]}, "spec": {"holderIdentity": "c"}}, kind="merge")
    ask("PATCH", path + "/a", {"spec": {"holderIdentity": None}}, kind="merge")
    ask("PATCH", path + "/none", {"spec": {"holderIdentity": "c"}}, kind="merge")
    ask("PATCH", path + "/a", [{"op": "test", "path": "/spec/leaseDurationSeconds", "value": 9}],
        kind="json")
    ask("PATCH", path + "/a", [{"op": "replace", "path": "/spec/leaseDurationSeconds",
                                "value": 9}], kind="json")
    ask("PATCH", path + "/a", [{"op": "remove", "path": "/spec/nothing"}], kind="json")
    ask("PATCH", path + "/a", "{", kind="merge")
    ask("PATCH", path + "/a", {"spec": {"leaseDurationSeconds": "x"}}, kind="merge")
    ask("PATCH", path + "/a", {"spec": {"leaseDurationSeconds": 0}}, kind="merge")
    ask("PATCH", path + "/a", {"metadata": {"name": "b"}}, kind="merge")
    ask("PATCH", path + "/a", {"spec": {}}, kind="application/json")
    ask("DELETE", path + "/a", {"preconditions": {"resourceVersion": "1"}})
    ask("DELETE", path + "/a", {"preconditions": {"uid": "no"}})
    ask("DELETE", path + "/a")
    ask("DELETE", path + "/a")
    ask("PUT", path + "/a", second)                 # uid and version of what is gone


def _services(t):
    ask, path = t.ask, SERVICES
    web = ask("POST", path, service("web", loadBalancerClass="leasehold.io/vip"))
    status = path + "/web/status"
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}}
    ask("PATCH", status, {"metadata": {
        "annotations": {"leasehold.io/allocated": "203.0.113.10"}, "labels": {"a": "b"}},
        "spec": {"ports": [{"port": 81}]}, **ingress}, kind="merge")
    ask("PATCH", status, ingress, kind="merge")     # nothing changes
    ask("PATCH", status, {"status": {"loadBalancer": {"ingress": [
        {"ip": "203.0.113.10", "ipMode": "VIP", "ports": [{"port": 80, "protocol": "TCP"}]},
        {"ip": "2001:db8::10", "ipMode": "Proxy"}, {"hostname": "x.example"}]},
        "conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "m",
                        "lastTransitionTime": "2031-02-03T04:05:06Z"}]}}, kind="merge")
    for bad in ({"ip": "nonsense"}, {"ip": "203.0.113.10", "ipMode": "Other"}, {"ipMode": "VIP"},
                {"hostname": "203.0.113.10"}, {"ip": 7}):
        ask("PATCH", status, {"status": {"loadBalancer": {"ingress": [bad]}}}, kind="merge")
    ask("PATCH", status, {"metadata": {"resourceVersion": web["metadata"]["resourceVersion"]},
                          **ingress}, kind="merge")
    ask("PATCH", path + "/web", {"status": {"loadBalancer": None}, "metadata": {
        "annotations": {"x": "y"}}}, kind="merge")  # not by this way
    ask("PATCH", path + "/web", {"spec": {"loadBalancerClass": "other.example/class"}},
        kind="merge")
    ask("PATCH", path + "/web", {"spec": {"ports": [{"name": "a", "port": 80}, {"port": 443}]}},
        kind="merge")
    ask("PATCH", path + "/web", {"spec": {"ports": [{"name": "a", "port": 80},
                                                    {"name": "b", "port": 443}]}}, kind="merge")
    ask("PATCH", path + "/web", {"spec": {"externalTrafficPolicy": "Local"}}, kind="merge")
    ask("PATCH", path + "/web", {"spec": {"externalTrafficPolicy": "Cluster"}}, kind="merge")
    ask("PATCH", path + "/web", {"spec": {"clusterIP": "198.19.0.77"}}, kind="merge")
    ask("PATCH", path + "/web", {"spec": {"type": "ClusterIP"}}, kind="merge")
    ask("PATCH", status, ingress, kind="merge")
    ask("PATCH", path + "/web", {"spec": {"type": "LoadBalancer"}}, kind="merge")
    _service_puts(ask, path, status)
    _service_refusals(ask, path)
    _service_ends(ask, path)


def _service_puts(ask, path, status):
    now = ask("GET", path + "/web")
    ask("PUT", path + "/web", {**now, "spec": {"type": "LoadBalancer", "ports": [
        {"name": "a", "port": 8080}]}})
    ask("PUT", path + "/web", service("web"))       # without a version
    ask("PUT", path + "/by-put", service("by-put", type="ClusterIP"))
    ask("GET", status)


def _service_refusals(ask, path):
    for name, spec in (
            ("none", {"ports": []}), ("zero", {"ports": [{"port": 0}]}),
            ("high", {"ports": [{"port": 65536}]}), ("proto", {"ports": [
                {"port": 80, "protocol": "ICMP"}]}),
            ("twice", {"type": "ClusterIP", "ports": [{"name": "a", "port": 80}, {
                "name": "b", "port": 80}]}),
            ("names", {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}),
            ("mixed", {"ports": [{"name": "t", "port": 53}, {
                "name": "u", "port": 53, "protocol": "UDP"}]}),
            ("named", {"ports": [{"port": 80, "targetPort": "http"}]}),
            ("target", {"ports": [{"port": 80, "targetPort": 70000}]}),
            ("type", {"type": "Round"}), ("class", {"type": "ClusterIP",
                                                    "loadBalancerClass": "a.example/b"}),
            ("badclass", {"loadBalancerClass": "a b"}),
            ("headless", {"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}),
            ("headless2", {"type": "ClusterIP", "clusterIP": "None", "ports": []}),
            ("lbheadless", {"clusterIP": "None"}),
            ("noports", {"allocateLoadBalancerNodePorts": False}),
            ("local", {"externalTrafficPolicy": "Local"}),
            ("badpolicy", {"externalTrafficPolicy": "Near"}),
            ("inpolicy", {"type": "ClusterIP", "externalTrafficPolicy": "Local"}),
            ("sticky", {"sessionAffinity": "ClientIP"}),
            ("sticky2", {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {
                "clientIP": {"timeoutSeconds": 90000}}}),
            ("ranges", {"loadBalancerSourceRanges": ["198.51.100.0/24", " 203.0.113.0/24 "]}),
            ("badrange", {"loadBalancerSourceRanges": ["all"]}),
            ("asked", {"loadBalancerIP": "203.0.113.77"}),
            ("prefer", {"ipFamilyPolicy": "PreferDualStack"}),
            ("require", {"ipFamilyPolicy": "RequireDualStack"}),
            ("six", {"ipFamilies": ["IPv6"]}), ("badfamily", {"ipFamilies": ["IPv5"]}),
            ("name", {"type": "ExternalName", "externalName": "x.example", "ports": []}),
            ("noname", {"type": "ExternalName", "ports": []}),
            ("Upper", {}), ("9digit", {}), ("outside", {"externalIPs": ["nonsense"]})):
        ask("POST", path, service(name, **spec))


def _service_ends(ask, path):
    ask("PATCH", path + "/prefer", {"spec": {"ipFamilyPolicy": "SingleStack"}}, kind="merge")
    ask("PATCH", path + "/six", {"metadata": {"finalizers": ["leasehold.io/x"]}}, kind="merge")
    ask("DELETE", path + "/six")
    ask("DELETE", path + "/six")
    ask("PATCH", path + "/six", {"metadata": {"finalizers": None}}, kind="merge")
    ask("GET", path + "/six")
    ask("DELETE", path + "/prefer")
    ask("GET", path, fieldSelector="spec.type=ExternalName")
    ask("GET", path, fieldSelector="metadata.name=web")
    ask("GET", path, fieldSelector="spec.nonsense=web")


def _slices(t):
    ask, path = t.ask, SLICES
    made = ask("POST", path, endpoint_slice("a"))
    ask("PUT", path + "/a", {**made, "endpoints": [
        {"addresses": ["198.51.100.8"], "conditions": {"ready": True, "serving": False},
         "nodeName": "node1"}]})
    ask("PATCH", path + "/a", {"metadata": {"annotations": {"a": "b"}}}, kind="merge")
    ask("PATCH", path + "/a", {"metadata": {"labels": {"a": "b"}}}, kind="merge")
    ask("PATCH", path + "/a", {"addressType": "IPv6"}, kind="merge")
    for fields in ({"addressType": ""}, {"addressType": "IPX"}, {"endpoints": []},
                   {"endpoints": None, "ports": None}, {"endpoints": [{"addresses": []}]},
                   {"endpoints": [{"addresses": ["2001:db8::7"]}]},
                   {"endpoints": [{"addresses": ["127.0.0.1"]}]},
                   {"endpoints": [{"addresses": ["x"]}]},
                   {"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]},
                   {"ports": [{"name": "a", "port": 1, "protocol": "X"}]},
                   {"addressType": "IPv6", "endpoints": [{"addresses": ["2001:db8::7"]}]}):
        ask("POST", path, endpoint_slice("x", **fields))
        ask("DELETE", path + "/x")
    ask("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    ask("GET", "/api/v1/namespaces/default/services/kubernetes")


def _events(t):
    ask, path, ns = t.ask, EVENTS, t._namespace     # pylint: disable=protected-access
    ask("POST", path, event("a", ns))
    series = {"count": 2, "lastObservedTime": MICRO}
    ask("PATCH", path + "/a", {"series": {**series, "count": 1}}, kind="merge")
    ask("PATCH", path + "/a", {"series": series}, kind="merge")
    ask("PATCH", path + "/a", {"note": "changed"}, kind="merge")
    for fields in ({"eventTime": None}, {"reportingController": ""}, {"reportingInstance": ""},
                   {"action": ""}, {"reason": ""}, {"type": "Loud"}, {"type": ""},
                   {"note": "x" * 1025}, {"note": "x" * 1024}, {"reason": "x" * 129},
                   {"reportingController": "a b"}, {"series": {"count": 1}}, {"regarding": {}},
                   {"regarding": {"kind": "Service", "namespace": "default", "name": "web"}},
                   {"regarding": {"kind": "Node", "name": "node1"}},
                   {"deprecatedCount": 1}, {"eventTime": "2031-02-03T04:05:06Z"}):
        ask("POST", path, event("x", ns, **fields))
        ask("DELETE", path + "/x")
    ask("POST", path, {**event("a", ns), "metadata": {"generateName": "web."}})
    ask("POST", path, {**event("a", ns), "metadata": {"generateName": "web-"}})
    ask("POST", path.replace("{ns}", "default"), event(f"{ns}-node", "", regarding={
        "kind": "Node", "name": "node1"}))
    ask("DELETE", path.replace("{ns}", "default") + f"/{ns}-node")


def _others(t):
    ask = t.ask
    ask("GET", "/api/v1/namespaces/{ns}")
    ask("GET", "/healthz")
    ask("GET", "/livez")
    ask("GET", "/readyz")
    ask("GET", "/api/v1/nonsense")
    ask("GET", "/api/v1/namespaces/{ns}/nonsense")
    ask("GET", "/apis/nonsense.example/v1/things")
    ask("GET", LEASES, limit="x")
    ask("GET", LEASES, resourceVersion="x")
    ask("GET", LEASES, labelSelector="a in b")
    ask("GET", LEASES, resourceVersionMatch="Exact")
    ask("GET", LEASES, sendInitialEvents="true")
    ask("GET", LEASES, watch="true", sendInitialEvents="true")
    ask("GET", LEASES, watch="true", resourceVersionMatch="NotOlderThan")
    ask("GET", LEASES, **{"continue": "nonsense"})
    ask("POST", LEASES + "/x", lease("x"))
    ask("PUT", LEASES, lease("x"))
    ask("POST", "/api/v1/nodes", {"metadata": {"name": "{ns}-node".replace(
        "{ns}", t._namespace)}})        # pylint: disable=protected-access
    node = "/api/v1/nodes/{ns}-node"
    ask("PATCH", node, {"metadata": {"labels": {"a": "b"}}}, kind="merge")
    ask("PATCH", node + "/status", {"status": {"addresses": [
        {"type": "InternalIP", "address": "192.0.2.1"}]}}, kind="merge")
    ask("PATCH", node, {"status": {"addresses": []}}, kind="strategic")
    ask("DELETE", node)
    roles = RBAC + "/namespaces/{ns}/roles"
    rule = {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}
    ask("POST", roles, {"metadata": {"name": "r"}, "rules": [rule]})
    ask("POST", roles, {"metadata": {"name": "r2"}, "rules": []})
    ask("POST", roles, {"metadata": {"name": "r3"}, "rules": [{**rule, "verbs": []}]})
    ask("POST", roles, {"metadata": {"name": "r4"}, "rules": [{**rule, "resources": []}]})
    bindings = RBAC + "/namespaces/{ns}/rolebindings"
    subject = {"kind": "ServiceAccount", "name": "sa", "namespace": "default"}
    bound = ask("POST", bindings, {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}})
    ask("PUT", bindings + "/b", {**bound, "roleRef": {**bound["roleRef"], "name": "r2"}})
    ask("POST", bindings, {"metadata": {"name": "b2"}, "subjects": [{**subject, "namespace": ""}],
                           "roleRef": {"kind": "Role", "name": "r"}})
    ask("POST", bindings, {"metadata": {"name": "b3"}, "subjects": [
        {"kind": "User", "name": "u"}], "roleRef": {"kind": "Other", "name": "r"}})
    ask("DELETE", roles + "/r")
    accounts = "/api/v1/namespaces/{ns}/serviceaccounts"
    ask("POST", accounts, {"metadata": {"name": "sa"}})
    ask("POST", accounts + "/sa/token", {"spec": {"expirationSeconds": 60}})
    ask("POST", accounts + "/none/token", {"spec": {}})
    ask("DELETE", accounts + "/sa")


SCENES = {"leases": _leases, "services": _services, "slices": _slices, "events": _events,
          "others": _others}


def mutations(body):
    """Copies of an object, each with one value replaced by something odd, as (what, object)."""
    odd = (None, 5, -1, "x", "", [], {}, [None], [5], {"x": 5}, True)
    for path in _paths(body, ()):
        for value in odd:
            changed = json.loads(json.dumps(body))
            at = changed
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
            yield f"{'.'.join(map(str, path))} = {json.dumps(value)}", changed


def _paths(value, path):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, sub in items:
        yield (*path, key)
        if isinstance(sub, (dict, list)):
            yield from _paths(sub, (*path, key))


def samples(namespace):
    """Requests with an object of each kind that has rules: (method, path, object, patch kind).
    The Service web must be there."""
    rule = {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}
    subject = {"kind": "ServiceAccount", "name": "sa", "namespace": "default"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    meta = {"name": "odd", "labels": {"a": "b"}, "annotations": {"a": "b"}}
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.10", "ipMode": "VIP", "ports": [
        {"port": 80, "protocol": "TCP"}]}]}, "conditions": [{
            "type": "Ready", "status": "True", "reason": "R", "message": "m",
            "lastTransitionTime": "2031-02-03T04:05:06Z"}]}
    lease_object = lease("odd", renewTime=MICRO, leaseTransitions=1)
    wanted = {
        "lease": ("POST", LEASES, {**lease_object, "metadata": meta}, None),
        "service": ("POST", SERVICES, service(
            "odd", loadBalancerClass="a.example/b", sessionAffinity="ClientIP",
            externalTrafficPolicy="Local", selector={"a": "b"}, ipFamilyPolicy="SingleStack",
            ports=[{"name": "a", "port": 80, "targetPort": "http", "protocol": "UDP"}]), None),
        "status": ("PATCH", SERVICES + "/web/status", {
            "metadata": {"annotations": {"a": "b"}}, "status": status}, "merge"),
        "slice": ("POST", SLICES, endpoint_slice("odd", ports=[
            {"name": "a", "port": 80, "protocol": "TCP"}]), None),
        "event": ("POST", EVENTS, event("odd", namespace, series={
            "count": 2, "lastObservedTime": MICRO}), None),
        "role": ("POST", RBAC + "/namespaces/{ns}/roles", {
            "metadata": {"name": "odd"}, "rules": [rule]}, None),
        "binding": ("POST", RBAC + "/namespaces/{ns}/rolebindings", {
            "metadata": {"name": "odd"}, "subjects": [subject], "roleRef": ref}, None),
        "account": ("POST", "/api/v1/namespaces/{ns}/serviceaccounts", {
            "metadata": {"name": "odd"}}, None),
    }
    return {name: (method, path.replace("{ns}", namespace), body, kind)
            for name, (method, path, body, kind) in wanted.items()}


def judgements(session, namespace, sample):
    """What a server says to all mutations of a sample, as {what: (code, rejected fields)}."""
    method, path, body, kind = samples(namespace)[sample]
    said = {}
    for what, changed in [("itself", body), *mutations(body)]:
        code, answer = session(method, path + "?dryRun=All", changed, kind)
        causes = answer.get("details", {}).get("causes", []) if code >= 400 else []
        said[what] = code, sorted((c.get("reason", ""), c.get("field", "")) for c in causes)
    return said

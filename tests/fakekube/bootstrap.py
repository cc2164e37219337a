"""What is there before anybody writes: namespaces, the default roles, the kubernetes Service."""

import ipaddress
import uuid

from .api import now
from .auth import CLUSTER_BINDINGS, CLUSTER_ROLES
from .resources import ACCOUNTS, NAMESPACES, SERVICES, SLICES

RBAC_GROUP = "rbac.authorization.k8s.io"
_HEALTH = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_ROLES = {
    "cluster-admin": ([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                       {"verbs": ["*"], "nonResourceURLs": ["*"]}], ["system:masters"]),
    "system:discovery": ([{"verbs": ["get"], "nonResourceURLs": [
        "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_HEALTH]}],
        ["system:authenticated"]),
    "system:public-info-viewer": ([{"verbs": ["get"], "nonResourceURLs": _HEALTH}],
                                  ["system:authenticated", "system:unauthenticated"]),
}


def _make(store, res, name, body, namespace=""):
    if store.get(res, namespace, name):
        return
    meta = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": now(),
            **body.pop("metadata", {})}
    if namespace:
        meta["namespace"] = namespace
    store.put(res, {"metadata": meta, **body})


def _slice_body(addresses, version, port):
    return {"addressType": f"IPv{version}",
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            "ports": [{"name": "https", "protocol": "TCP", "port": port}]}


def fill(store, api, listeners):
    """Makes what is missing, and brings the addresses of the API servers up to date."""
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        _make(store, NAMESPACES, name, {
            "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        _make(store, ACCOUNTS, "default", {}, name)
    for name, (rules, groups) in _ROLES.items():
        label = {"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}}
        _make(store, CLUSTER_ROLES, name, {**label, "rules": rules})
        _make(store, CLUSTER_BINDINGS, name, {
            **label, "subjects": [{"kind": "Group", "apiGroup": RBAC_GROUP, "name": g}
                                  for g in groups],
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name}})
    port = listeners[0][1]
    if not store.get(SERVICES, "default", "kubernetes"):
        body, _ = api.decode(SERVICES, {
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {
                "component": "apiserver", "provider": "kubernetes"}},
            "spec": {"type": "ClusterIP", "clusterIP": api.first_cluster_address, "ports": [
                {"name": "https", "port": 443, "targetPort": port}]}})
        api.create(SERVICES, "default", body)
    _kubernetes_slice(store, listeners, port)


def _kubernetes_slice(store, listeners, port):
    """default/kubernetes: one port for all servers, as the real one has it."""
    addresses = sorted({a for a, p in listeners if p == port})
    version = ipaddress.ip_address(addresses[0]).version
    body = _slice_body([a for a in addresses if ipaddress.ip_address(a).version == version],
                       version, port)
    old = store.get(SLICES, "default", "kubernetes")
    if old is not None:
        current = {k: v for k, v in old.obj.items() if k != "metadata"}
        if current != body:
            meta = dict(old.obj["metadata"], generation=old.obj["metadata"]["generation"] + 1)
            store.put(SLICES, {"metadata": meta, **body})
        return
    body["metadata"] = {"generation": 1, "labels": {"kubernetes.io/service-name": "kubernetes"}}
    _make(store, SLICES, "kubernetes", body, "default")

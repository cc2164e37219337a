"""What each kind does on create and update: defaults, protected fields, validation.

`prepare` and `validate` are called by the storage layer with typed objects (schema.py has run).
Services have a file of their own.  Kinds without rules get those of their metadata alone.
"""

import ipaddress
import re

from . import service
from .errors import bad_value, duplicate, not_supported, required

SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LABEL_KINDS = ("Namespace", "Service")
_PATH_KINDS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_MAX_ANNOTATIONS = 256 * 1024


def _name_error(kind, name):
    if kind in _PATH_KINDS:
        if name in (".", "..") or "/" in name or "%" in name:
            return "may not be '.' or '..' or contain '/' or '%'"
    elif kind == "Service":
        if not _SERVICE_NAME.fullmatch(name) or len(name) > 63:
            return ("a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
                    "start with an alphabetic character, and end with an alphanumeric character")
    elif not SUBDOMAIN.fullmatch(name) or len(name) > (63 if kind in _LABEL_KINDS else 253):
        return ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
                "characters, '-' or '.', and must start and end with an alphanumeric character")
    return None


def _metadata(kind, meta):
    errors = []
    why = _name_error(kind, meta["name"])
    if why:
        errors.append(bad_value("metadata.name", meta["name"], why))
    prefix = meta.get("generateName", "")
    if prefix:
        why = _name_error(kind, prefix[:-1] + "a" if prefix.endswith("-") else prefix)
        if why:
            errors.append(bad_value("metadata.generateName", prefix, why))
    for key, value in (meta.get("labels") or {}).items():
        if not service.QUALIFIED.fullmatch(key):
            errors.append(bad_value("metadata.labels", key, "name part must consist of "
                                    "alphanumeric characters, '-', '_' or '.'"))
        if not _LABEL_VALUE.fullmatch(value):
            errors.append(bad_value("metadata.labels", value, "a valid label must be an empty "
                                    "string or consist of alphanumeric characters, '-', '_' or "
                                    "'.', and must start and end with an alphanumeric character"))
    size = 0
    for key, value in (meta.get("annotations") or {}).items():
        if not service.QUALIFIED.fullmatch(key.lower()):
            errors.append(bad_value("metadata.annotations", key, "name part must consist of "
                                    "alphanumeric characters, '-', '_' or '.'"))
        size += len(key.encode()) + len(value.encode())
    if size > _MAX_ANNOTATIONS:
        errors.append(bad_value("metadata.annotations", "",
                                f"may not be more than {_MAX_ANNOTATIONS} bytes"))
    for i, name in enumerate(meta.get("finalizers") or ()):
        if not service.QUALIFIED.fullmatch(name):
            errors.append(bad_value(f"metadata.finalizers[{i}]", name,
                                    "name is neither a standard finalizer name nor is it fully "
                                    "qualified"))
    return errors


def _lease(new, _old):
    spec, errors = new["spec"], []
    if spec.get("leaseDurationSeconds", 1) <= 0:
        errors.append(bad_value("spec.leaseDurationSeconds", spec["leaseDurationSeconds"],
                                "must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        errors.append(bad_value("spec.leaseTransitions", spec["leaseTransitions"],
                                "must be greater than or equal to 0"))
    return errors


_EVENT_FIXED = (("regarding", "involvedObject"), ("reason",) * 2, ("note", "message"),
                ("deprecatedSource", "source"), ("type",) * 2, ("eventTime",) * 2,
                ("action",) * 2, ("related",) * 2, ("reportingController",) * 2,
                ("reportingInstance",) * 2)


def _event(new, old):
    errors = []
    namespace = new["metadata"]["namespace"]
    regarding = (new.get("regarding") or {}).get("namespace", "")
    if not regarding and namespace not in ("default", "kube-system"):
        errors.append(bad_value("involvedObject.namespace", regarding,
                                "does not match event.namespace"))
    for field, limit in (("reportingController", 0), ("reportingInstance", 128), ("action", 128),
                         ("reason", 128)):
        value = new.get(field, "")
        if not value:
            errors.append(required(field))
        elif limit and len(value.encode()) > limit:
            errors.append(bad_value(field, "", f"can have at most {limit} characters"))
    controller = new.get("reportingController", "")
    if not controller:
        errors += [bad_value("reportingController", "", "name part must be non-empty")] * 2
    elif not service.QUALIFIED.fullmatch(controller):
        errors.append(bad_value("reportingController", controller, "name part must consist of "
                                "alphanumeric characters, '-', '_' or '.'"))
    if len(new.get("note", "").encode()) > 1024:
        errors.append(bad_value("message", "", "can have at most 1024 characters"))
    series = new.get("series")
    if series and (old is None or series != old.get("series")):
        if series["count"] < 2:
            errors.append(bad_value("series.count", "", "should be at least 2"))
        if not series["lastObservedTime"]:
            errors.append(required("series.lastObservedTime"))
    if old is None:
        if not new["eventTime"]:
            errors.append(required("eventTime"))
        if new.get("type") not in ("Normal", "Warning"):
            errors.append(bad_value("type", "", f"has invalid value: {new.get('type', '')}"))
        for field, shown in (("deprecatedFirstTimestamp", "firstTimestamp"),
                             ("deprecatedLastTimestamp", "lastTimestamp"),
                             ("deprecatedCount", "count"), ("deprecatedSource", "source")):
            if new.get(field):
                errors.append(bad_value(shown, "", "needs to be unset"))
        return errors
    for field, shown in _EVENT_FIXED:
        if new.get(field) != old.get(field):
            errors.append(bad_value(shown, new.get(field), "field is immutable"))
    return errors


def _is_special(address):
    return (address.is_unspecified or address.is_loopback or address.is_link_local
            or address.is_multicast and address.version == 4 and str(address).startswith("224.0.0")
            or address.version == 6 and str(address).startswith("ff02:"))


def _slice_addresses(endpoint, kind, path):
    errors = []
    addresses = endpoint.get("addresses") or []
    if not addresses:
        errors.append(required(path, "must contain at least 1 address"))
    for j, text in enumerate(addresses):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            errors.append(bad_value(f"{path}[{j}]", text, "must be a valid IP address, "
                                    "(e.g. 10.9.8.7 or 2001:db8::ffff)"))
            continue
        if f"IPv{address.version}" != kind:
            errors.append(bad_value(path, text, f"must be an {kind} address"))
        if _is_special(address):
            errors.append(bad_value(f"{path}[{j}]", text, "may not be unspecified (0.0.0.0), or "
                                    "in the loopback or link-local range"))
    return errors


def _slice(new, old):
    errors = []
    kind = new["addressType"]
    if not kind:
        return [required("addressType")]
    if kind not in ("IPv4", "IPv6", "FQDN"):
        return [not_supported("addressType", kind, ("IPv4", "IPv6", "FQDN"))]
    if old is not None and old["addressType"] != kind:
        errors.append(bad_value("addressType", kind, "field is immutable"))
    endpoints, ports = new["endpoints"] or [], new["ports"] or []
    if len(endpoints) > 1000:
        errors.append(bad_value("endpoints", len(endpoints), "must have at most 1000 items"))
    if len(ports) > 100:
        errors.append(bad_value("ports", len(ports), "must have at most 100 items"))
    if kind != "FQDN" and (old is None or old["endpoints"] != new["endpoints"]):
        for i, endpoint in enumerate(endpoints[:1000]):
            errors += _slice_addresses(endpoint, kind, f"endpoints[{i}].addresses")
    names = set()
    for i, port in enumerate(ports):
        if port["name"] in names:
            errors.append(duplicate(f"ports[{i}].name", port["name"]))
        names.add(port["name"])
        if port["protocol"] not in service.PROTOCOLS:
            errors.append(not_supported(f"ports[{i}].protocol", port["protocol"],
                                        service.PROTOCOLS))
    return errors


def _role(new, _old):
    errors = []
    for i, rule in enumerate(new["rules"] or ()):
        if not rule["verbs"]:
            errors.append(required(f"rules[{i}].verbs", "verbs must contain at least one value"))
        if not rule.get("nonResourceURLs") and not rule.get("resources"):
            errors.append(required(f"rules[{i}].resources",
                                   "resource rules must supply at least one resource"))
        if not rule.get("nonResourceURLs") and "apiGroups" not in rule:
            errors.append(required(f"rules[{i}].apiGroups",
                                   "resource rules must supply at least one api group"))
    return errors


def _binding(new, old):
    errors = []
    ref = new["roleRef"]
    if ref["kind"] not in ("Role", "ClusterRole"):
        errors.append(not_supported("roleRef.kind", ref["kind"], ("Role", "ClusterRole")))
    if ref["apiGroup"] != "rbac.authorization.k8s.io":
        errors.append(not_supported("roleRef.apiGroup", ref["apiGroup"],
                                    ("rbac.authorization.k8s.io",)))
    if not ref["name"]:
        errors.append(required("roleRef.name"))
    if old is not None and old["roleRef"] != ref:
        errors.append(bad_value("roleRef", ref, "cannot change roleRef"))
    for i, subject in enumerate(new.get("subjects") or ()):
        if not subject["name"]:
            errors.append(required(f"subjects[{i}].name"))
        if subject["kind"] not in ("ServiceAccount", "User", "Group"):
            errors.append(not_supported(f"subjects[{i}].kind", subject["kind"],
                                        ("ServiceAccount", "User", "Group")))
        elif subject["kind"] == "ServiceAccount" and not (
                subject.get("namespace") or new["metadata"].get("namespace")):
            errors.append(required(f"subjects[{i}].namespace"))
    return errors


_CHECKS = {"Lease": _lease, "Event": _event, "EndpointSlice": _slice, "Role": _role,
           "ClusterRole": _role, "RoleBinding": _binding, "ClusterRoleBinding": _binding}


_NODE_INFO = ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage",
              "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion", "operatingSystem",
              "architecture")


def _default_node(obj):
    obj.setdefault("spec", {})
    status = obj["status"] = {k: v for k, v in (obj.get("status") or {}).items()
                              if v not in (None, [], {})}
    status.setdefault("daemonEndpoints", {"kubeletEndpoint": {"Port": 0}})
    status["nodeInfo"] = {**dict.fromkeys(_NODE_INFO, ""), **(status.get("nodeInfo") or {})}


def default(res, obj):
    """Fills in defaults that depend on the object alone, on everything that is decoded."""
    if res.kind == "Service":
        service.default(obj)
    elif res.kind == "EndpointSlice":
        for endpoint in obj["endpoints"] or ():
            endpoint.setdefault("conditions", {})
        for port in obj["ports"] or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")
    elif res.kind == "Node":
        _default_node(obj)
    elif res.kind == "Lease":
        for field in ("strategy", "preferredHolder"):
            obj["spec"].pop(field, None)    # behind a feature gate that is off
    elif res.kind.endswith("RoleBinding"):
        ref = obj["roleRef"]
        ref["apiGroup"] = ref["apiGroup"] or res.group
        for subject in obj.get("subjects") or ():
            if subject["kind"] in ("User", "Group"):
                subject.setdefault("apiGroup", res.group)


def prepare_create(res, obj):
    """Sets and clears what clients may not choose on create."""
    if res.kind == "Service":
        obj["status"] = {"loadBalancer": {}}
    elif res.kind == "Namespace":
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}
        labels = obj["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    elif res.status and res.kind != "Node":
        obj["status"] = {}
    if res.kind == "Node":
        taints = obj["spec"].setdefault("taints", [])
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        if taint not in taints:
            taints.append(taint)
    obj["metadata"].pop("generation", None)
    if res.generation:
        obj["metadata"]["generation"] = 1


def prepare_update(res, new, old, part):
    """Restores what this kind of update may not change; `part` is "" or "status"."""
    if part == "status":
        for field in [f for f in new if f not in ("status", "metadata")]:
            del new[field]
        new.update({k: v for k, v in old.items() if k not in ("status", "metadata")})
        return
    if res.status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = dict(old["status"])
    if res.kind == "Service":
        service.keep_allocated(new, old)
        service.drop_by_type(new, old)
    elif res.kind == "Namespace":
        new["spec"] = old["spec"]
    if res.generation:
        body = [{k: v for k, v in o.items() if k not in ("metadata", "status")}
                for o in (new, old)]
        labels = [o["metadata"].get("labels") for o in (new, old)]
        changed = body[0] != body[1] or (res.kind == "EndpointSlice" and labels[0] != labels[1])
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + changed


def validate(res, new, old, part):
    """All rejected fields of an object that is about to be stored."""
    errors = _metadata(res.kind, new["metadata"])
    if res.kind == "Service":
        errors += service.check_status(new) if part == "status" else service.check(new, old)
    elif res.kind in _CHECKS:
        errors += _CHECKS[res.kind](new, old)
    return errors

"""The shape of the kinds that Leasehold reads and writes: names and types of their fields.

decode() does what the real server's typed JSON decoder does: it refuses values of the wrong type,
drops fields that do not exist (reporting them), and drops values that are empty where the Go type
says omitempty.  Kinds without a schema are stored as they come, metadata apart.

A schema is a dict (struct), a list of one schema, a Map, or a type name:
    str int32 int64 bool time microtime intstr any
A name ending in "?" is a pointer: its zero value is kept.  A field name ending in "!" is printed
even when it is empty (as null, where it is a list).
"""

import datetime
import re

from .errors import bad_request


class Map:
    """A JSON object with arbitrary keys and values of one schema."""

    def __init__(self, value):
        self.value = value


STRINGS = Map("str")

META = {
    "name": "str", "generateName": "str", "namespace": "str", "selfLink": "str", "uid": "str",
    "resourceVersion": "str", "generation": "int64", "creationTimestamp!": "time",
    "deletionTimestamp": "time", "deletionGracePeriodSeconds": "int64?", "labels": STRINGS,
    "annotations": STRINGS, "finalizers": ["str"], "managedFields": "any",
    "ownerReferences": [{"apiVersion!": "str", "kind!": "str", "name!": "str", "uid!": "str",
                         "controller": "bool?", "blockOwnerDeletion": "bool?"}],
}

CONDITION = {"type!": "str", "status!": "str", "observedGeneration": "int64",
             "lastTransitionTime!": "time", "reason!": "str", "message!": "str"}

LEASE = {"spec!": {
    "holderIdentity": "str?", "leaseDurationSeconds": "int32?", "acquireTime": "microtime",
    "renewTime": "microtime", "leaseTransitions": "int32?", "strategy": "str?",
    "preferredHolder": "str?"}}

SERVICE = {
    "spec!": {
        "ports": [{"name": "str", "protocol": "str", "appProtocol": "str?", "port!": "int32",
                   "targetPort": "intstr", "nodePort": "int32"}],
        "selector": STRINGS, "clusterIP": "str", "clusterIPs": ["str"], "type": "str",
        "externalIPs": ["str"], "sessionAffinity": "str", "loadBalancerIP": "str",
        "loadBalancerSourceRanges": ["str"], "externalName": "str",
        "externalTrafficPolicy": "str", "healthCheckNodePort": "int32",
        "publishNotReadyAddresses": "bool",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": "int32?"}},
        "ipFamilies": ["str"], "ipFamilyPolicy": "str?", "allocateLoadBalancerNodePorts": "bool?",
        "loadBalancerClass": "str?", "internalTrafficPolicy": "str?",
        "trafficDistribution": "str?"},
    "status!": {
        "loadBalancer!": {"ingress": [{
            "ip": "str", "hostname": "str", "ipMode": "str?",
            "ports": [{"port!": "int32", "protocol!": "str", "error": "str?"}]}]},
        "conditions": [CONDITION]},
}

OBJECT_REF = {"kind": "str", "namespace": "str", "name": "str", "uid": "str",
              "apiVersion": "str", "resourceVersion": "str", "fieldPath": "str"}

EVENT = {
    "eventTime!": "microtime", "series": {"count!": "int32", "lastObservedTime!": "microtime"},
    "reportingController": "str", "reportingInstance": "str", "action": "str", "reason": "str",
    "regarding": OBJECT_REF, "related": OBJECT_REF, "note": "str", "type": "str",
    "deprecatedSource!": {"component": "str", "host": "str"},
    "deprecatedFirstTimestamp!": "time", "deprecatedLastTimestamp!": "time",
    "deprecatedCount": "int32",
}

SLICE = {
    "addressType!": "str",
    "endpoints!": [{
        "addresses!": ["str"], "hostname": "str?", "nodeName": "str?", "zone": "str?",
        "conditions!": {"ready": "bool?", "serving": "bool?", "terminating": "bool?"},
        "targetRef": OBJECT_REF, "deprecatedTopology": STRINGS,
        "hints": {"forZones": [{"name!": "str"}], "forNodes": [{"name!": "str"}]}}],
    "ports!": [{"name": "str?", "protocol": "str?", "port": "int32?", "appProtocol": "str?"}],
}

RULE = {"verbs!": ["str"], "apiGroups": ["str"], "resources": ["str"], "resourceNames": ["str"],
        "nonResourceURLs": ["str"]}
ROLE = {"rules!": [RULE]}
CLUSTER_ROLE = {"rules!": [RULE], "aggregationRule": "any"}
BINDING = {"subjects": [{"kind!": "str", "apiGroup": "str", "name!": "str", "namespace": "str"}],
           "roleRef!": {"apiGroup!": "str", "kind!": "str", "name!": "str"}}

NAMESPACE = {"spec!": {"finalizers": ["str"]},
             "status!": {"phase": "str", "conditions": "any"}}
ACCOUNT = {"secrets": "any", "imagePullSecrets": "any", "automountServiceAccountToken": "bool?"}
TOKEN_REQUEST = {
    "spec!": {"audiences!": ["str"], "expirationSeconds": "int64?",
              "boundObjectRef": {"kind": "str", "apiVersion": "str", "name": "str", "uid": "str"}},
    "status!": {"token!": "str", "expirationTimestamp!": "time"}}

_RANGES = {"int32": (-2**31, 2**31 - 1), "int64": (-2**63, 2**63 - 1)}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)")
_MICRO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.,]\d{6}(?:Z|[+-]\d\d:\d\d)")


class Decoder:
    """Decodes one object; `unknown` lists the fields that were dropped."""

    def __init__(self, kind, version):
        self.what = f'{kind} in version "{version}" cannot be handled as a {kind}: '
        self.unknown = []

    def object(self, obj, schema):
        """A typed copy of a whole object; schema None: metadata only is checked."""
        if schema is None:
            out = {k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")}
            out["metadata"] = self._struct(obj.get("metadata") or {}, META, "metadata")
        else:
            body = {k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}
            out = self._struct(body, {"metadata!": META, **schema}, "")
        out["metadata"].pop("managedFields", None)
        return out

    def _fail(self, value, path, wanted):
        what = {dict: "object", list: "array", str: "string", bool: "bool"}.get(
            type(value), f"number {value}")
        raise bad_request(f"{self.what}json: cannot unmarshal {what} into Go struct field "
                          f"{path} of type {wanted}")

    def _value(self, value, schema, path):
        if isinstance(schema, dict):
            if not isinstance(value, dict):
                self._fail(value, path, "struct")
            return self._struct(value, schema, path)
        if isinstance(schema, list):
            if not isinstance(value, list):
                self._fail(value, path, "slice")
            return [_zero(schema[0], self) if v is None else
                    self._value(v, schema[0], f"{path}[{i}]") for i, v in enumerate(value)]
        if isinstance(schema, Map):
            if not isinstance(value, dict):
                self._fail(value, path, "map")
            return {k: "" if v is None else self._value(v, schema.value, f"{path}.{k}")
                    for k, v in value.items()}
        return self._scalar(value, schema.rstrip("?"), path)

    def _scalar(self, value, kind, path):
        if kind == "any":
            return value
        if kind == "str":
            good = isinstance(value, str)
        elif kind == "bool":
            good = isinstance(value, bool)
        elif kind in _RANGES:
            low, high = _RANGES[kind]
            good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        elif kind == "intstr":
            good = isinstance(value, (int, str)) and not isinstance(value, bool)
        else:
            return self._time(value, kind, path)
        if not good:
            self._fail(value, path, kind)
        return value

    def _time(self, value, kind, path):
        if not isinstance(value, str):
            self._fail(value, path, kind)
        pattern, layout = ((_MICRO, "2006-01-02T15:04:05.000000Z07:00") if kind == "microtime"
                           else (_TIME, "2006-01-02T15:04:05Z07:00"))
        try:
            if not pattern.fullmatch(value):
                raise ValueError(value)
            text = re.sub(r"([.,])(\d+)", lambda m: "." + (m[2] + "000000")[:6], value)
            when = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise bad_request(f'{self.what}parsing time "{value}" as "{layout}": cannot parse '
                              f'"{value}" ({path})') from None
        when = when.astimezone(datetime.timezone.utc)
        if kind == "microtime":
            return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _struct(self, value, schema, path):
        out = {}
        known = set()
        for name, sub in schema.items():
            always = name.endswith("!")
            name = name.rstrip("!")
            known.add(name)
            given = value.get(name)
            where = f"{path}.{name}" if path else name
            if given is None:
                if always:
                    out[name] = _zero(sub, self)
                continue
            given = self._value(given, sub, where)
            pointer = isinstance(sub, str) and sub.endswith("?")
            keep = always or pointer or isinstance(sub, dict) or sub in ("intstr", "any")
            if always and given == []:
                out[name] = None
            elif keep or given not in ("", 0, False, [], {}):
                out[name] = given
        for name in value:
            if name not in known:
                self.unknown.append(f"{path}.{name}" if path else name)
        return out


def _zero(schema, decoder):
    """The value of an absent field that is printed nevertheless."""
    if isinstance(schema, dict):
        return decoder._struct({}, schema, "")  # pylint: disable=protected-access
    if isinstance(schema, (list, Map)) or "time" in schema:
        return None
    return {"s": "", "i": 0, "b": False}.get(schema[0])

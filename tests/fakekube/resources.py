"""The kinds this server has, and its discovery documents."""

import dataclasses

from . import schema


@dataclasses.dataclass(frozen=True)
class Resource:
    """One kind: where it is served and how its storage behaves."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    schema: dict = None
    status: bool = False            # has a /status subresource
    create_on_update: bool = False  # PUT makes an object that is not there
    unconditional: bool = True      # PUT without resourceVersion is taken
    returns_object: bool = False    # DELETE answers with the object, not with a Status
    generation: bool = False        # metadata.generation counts changes of the spec
    fields: tuple = ()              # selectable fields besides metadata.name and .namespace

    @property
    def key(self):
        """The name of the table, unique among all kinds."""
        return f"{self.group}/{self.plural}"

    @property
    def api_version(self):
        """The apiVersion of the objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def selectable(self):
        """All fields that a fieldSelector may name."""
        own = ("metadata.name", "metadata.namespace") if self.namespaced else ("metadata.name",)
        return own + self.fields


def _table():
    rbac = "rbac.authorization.k8s.io"
    known = [
        Resource("", "v1", "namespaces", "Namespace", False, schema.NAMESPACE, status=True,
                 returns_object=True, fields=("status.phase",)),
        Resource("", "v1", "services", "Service", True, schema.SERVICE, status=True,
                 create_on_update=True, returns_object=True,
                 fields=("spec.clusterIP", "spec.type")),
        Resource("", "v1", "nodes", "Node", False, status=True, fields=("spec.unschedulable",)),
        Resource("", "v1", "serviceaccounts", "ServiceAccount", True, schema.ACCOUNT,
                 returns_object=True),
        Resource("events.k8s.io", "v1", "events", "Event", True, schema.EVENT,
                 create_on_update=True,
                 fields=("reason", "type", "reportingController", "regarding.kind",
                         "regarding.namespace", "regarding.name", "regarding.uid")),
        Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True, schema.SLICE,
                 generation=True),
        Resource("coordination.k8s.io", "v1", "leases", "Lease", True, schema.LEASE,
                 create_on_update=True, unconditional=False),
        Resource(rbac, "v1", "roles", "Role", True, schema.ROLE, create_on_update=True),
        Resource(rbac, "v1", "rolebindings", "RoleBinding", True, schema.BINDING,
                 create_on_update=True),
        Resource(rbac, "v1", "clusterroles", "ClusterRole", False, schema.CLUSTER_ROLE,
                 create_on_update=True),
        Resource(rbac, "v1", "clusterrolebindings", "ClusterRoleBinding", False, schema.BINDING,
                 create_on_update=True),
        Resource("apps", "v1", "daemonsets", "DaemonSet", True, status=True, generation=True),
    ]
    # Stored as they come: no defaults, no validation beyond the metadata.
    plain = [
        ("", "v1", "pods", "Pod", True, True), ("", "v1", "configmaps", "ConfigMap", True, False),
        ("", "v1", "secrets", "Secret", True, False),
        ("apps", "v1", "deployments", "Deployment", True, True),
        ("apps", "v1", "replicasets", "ReplicaSet", True, True),
        ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, True),
        ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, False),
        ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, False),
        ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies",
         "ValidatingAdmissionPolicy", False, True),
        ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings",
         "ValidatingAdmissionPolicyBinding", False, False),
    ]
    known += [Resource(g, v, p, k, ns, status=st) for g, v, p, k, ns, st in plain]
    return {(r.group, r.version, r.plural): r for r in known}


RESOURCES = _table()
BY_KEY = {r.key: r for r in RESOURCES.values()}
SERVICES = BY_KEY["/services"]
NAMESPACES = BY_KEY["/namespaces"]
ACCOUNTS = BY_KEY["/serviceaccounts"]
LEASES = BY_KEY["coordination.k8s.io/leases"]
SLICES = BY_KEY["discovery.k8s.io/endpointslices"]
EVENTS = BY_KEY["events.k8s.io/events"]
GROUP_VERSIONS = sorted({(r.group, r.version) for r in RESOURCES.values()})
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def api_resources(group, version):
    """The APIResourceList of one group version, or None."""
    if (group, version) not in GROUP_VERSIONS:
        return None
    items = []
    for res in RESOURCES.values():
        if (res.group, res.version) != (group, version):
            continue
        items.append({"name": res.plural, "singularName": res.kind.lower(),
                      "namespaced": res.namespaced, "kind": res.kind, "verbs": VERBS})
        if res.status:
            items.append({"name": res.plural + "/status", "singularName": "",
                          "namespaced": res.namespaced, "kind": res.kind,
                          "verbs": ["get", "patch", "update"]})
        if res.plural == "serviceaccounts":
            items.append({"name": "serviceaccounts/token", "singularName": "", "namespaced": True,
                          "group": "authentication.k8s.io", "version": "v1",
                          "kind": "TokenRequest", "verbs": ["create"]})
    return {"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version, "resources": items}


def api_groups():
    """The APIGroupList of all groups but the core one."""
    groups = []
    for group, version in GROUP_VERSIONS:
        if group:
            this = {"groupVersion": f"{group}/{version}", "version": version}
            groups.append({"name": group, "versions": [this], "preferredVersion": this})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

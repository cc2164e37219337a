"""Who asks, and whether they may: client certificates, service account tokens, RBAC.

Tokens are JWTs as the real server's, but signed with a shared key (HS256), since only this server
ever checks them.  A token is good while it has not expired and its service account exists with the
same uid.  Rights come from the RBAC objects in the store, so that a missing one fails here as it
would in a cluster.
"""

import base64
import dataclasses
import hashlib
import hmac
import json
import time
import uuid

from .errors import unauthorized
from .resources import ACCOUNTS, BY_KEY

_RBAC = "rbac.authorization.k8s.io/"
ROLES, BINDINGS, CLUSTER_ROLES, CLUSTER_BINDINGS = (BY_KEY[_RBAC + k] for k in (
    "roles", "rolebindings", "clusterroles", "clusterrolebindings"))
AUDIENCE = "https://kubernetes.default.svc.cluster.local"


@dataclasses.dataclass(frozen=True)
class User:
    """An authenticated user."""

    name: str
    groups: tuple


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclasses.dataclass(frozen=True)
class Access:
    """What a request wants to do: to a resource, or (path set) to another URL."""

    verb: str
    group: str = ""
    resource: str = ""      # with its subresource: services/status
    namespace: str = ""
    name: str = ""
    path: str = ""


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unb64(text):
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


class Tokens:
    """Issues and checks service account tokens."""

    def __init__(self, key, store):
        self._key = key
        self._store = store
        self._checked = {}

    def issue(self, account, seconds, audiences=()):
        """(token, time of expiry) for the entry of a service account."""
        start = int(time.time())
        claims = {
            "iss": AUDIENCE, "aud": list(audiences) or [AUDIENCE], "iat": start, "nbf": start,
            "exp": start + seconds, "jti": str(uuid.uuid4()),
            "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
            "kubernetes.io": {"namespace": account.namespace, "serviceaccount": {
                "name": account.name, "uid": account.obj["metadata"]["uid"]}}}
        head = _b64(b'{"alg":"HS256","typ":"JWT"}') + b"." + _b64(json.dumps(claims).encode())
        return (head + b"." + _b64(self._sign(head))).decode(), start + seconds

    def check(self, token):
        """The user a token stands for; 401."""
        claims = self._checked.get(token)
        if claims is None:
            claims = self._decode(token)
            if len(self._checked) > 10000:
                self._checked.clear()
            self._checked[token] = claims
        account = claims["kubernetes.io"]
        name, namespace = account["serviceaccount"]["name"], account["namespace"]
        entry = self._store.get(ACCOUNTS, namespace, name)
        if time.time() >= claims["exp"] or AUDIENCE not in claims["aud"] or entry is None or (
                entry.obj["metadata"]["uid"] != account["serviceaccount"]["uid"]):
            raise unauthorized()
        return User(claims["sub"], ("system:serviceaccounts",
                                    f"system:serviceaccounts:{namespace}",
                                    "system:authenticated"))

    def _decode(self, token):
        try:
            head, body, signature = token.encode().split(b".")
            if not hmac.compare_digest(_unb64(signature), self._sign(head + b"." + body)):
                raise ValueError("signature")
            return json.loads(_unb64(body))
        except ValueError:
            raise unauthorized() from None

    def _sign(self, data):
        return hmac.new(self._key, data, hashlib.sha256).digest()


def from_certificate(certificate):
    """The user named by a verified client certificate: CN, and O for groups."""
    name, groups = "", []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, tuple(groups) + ("system:authenticated",))


def authenticate(header, certificate, tokens):
    """The user of a request, by client certificate or else by token; 401 for a bad one."""
    if certificate:
        return from_certificate(certificate)
    if header is None:
        return ANONYMOUS
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return ANONYMOUS
    return tokens.check(token.strip())


class Rbac:
    """Decides by the Roles and bindings in a store."""

    def __init__(self, store):
        self._tables = [store.table(r) for r in
                        (ROLES, BINDINGS, CLUSTER_ROLES, CLUSTER_BINDINGS)]
        self._cache = {}
        self._seen = None

    def allows(self, user, access):
        """Whether a user may do this."""
        if "system:masters" in user.groups:
            return True
        for scope, rules in self._rules(user):
            if scope and scope != access.namespace:
                continue
            if any(_rule_allows(rule, access) for rule in rules):
                return True
        return False

    def _rules(self, user):
        """All (namespace or "", rules) that are bound to a user."""
        seen = [t.end for t in self._tables]
        if seen != self._seen:
            self._cache.clear()
            self._seen = seen
        if user not in self._cache:
            self._cache[user] = list(self._collect(user))
        return self._cache[user]

    def _collect(self, user):
        roles, bindings, cluster_roles, cluster_bindings = (t.entries for t in self._tables)
        for entry in list(bindings.values()) + list(cluster_bindings.values()):
            subjects = entry.obj.get("subjects") or ()
            if not any(_is_subject(user, s, entry.namespace) for s in subjects):
                continue
            ref = entry.obj["roleRef"]
            if ref["kind"] == "ClusterRole":
                role = cluster_roles.get(("", ref["name"]))
            else:
                role = roles.get((entry.namespace, ref["name"]))
            if role is not None:
                yield entry.namespace, role.obj["rules"] or ()


def _is_subject(user, subject, namespace):
    if subject["kind"] == "User":
        return subject["name"] == user.name
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    where = subject.get("namespace") or namespace
    return user.name == f"system:serviceaccount:{where}:{subject['name']}"


def _rule_allows(rule, access):
    verbs = rule["verbs"] or ()
    if access.verb not in verbs and "*" not in verbs:
        return False
    if access.path:
        return any(u == access.path or u == "*" or (u.endswith("*") and
                                                    access.path.startswith(u[:-1]))
                   for u in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if access.group not in groups and "*" not in groups:
        return False
    resources = rule.get("resources") or ()
    part = access.resource.partition("/")[2]
    if not (access.resource in resources or "*" in resources or
            (part and f"*/{part}" in resources)):
        return False
    names = rule.get("resourceNames") or ()
    return not names or access.name in names

"""The verbs on objects, free of HTTP: create, get, update, patch, delete, list.

Each takes decoded JSON and returns entries of the store, or raises ApiError.  None of them awaits
between reading and writing, so each is atomic.
"""

import base64
import copy
import datetime
import itertools
import json
import secrets
import uuid

from . import errors, patch, rules
from .resources import NAMESPACES
from .schema import Decoder
from .selector import Selection, parse_fields, parse_labels
from .service import Allocator
from .store import Entry

_PAGES_KEPT = 256
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


def now():
    """The time as metadata shows it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Api:
    """The verbs over one store."""

    def __init__(self, store, service_ranges):
        self.store = store
        self._allocator = Allocator(store, service_ranges)
        self._pages = {}        # continue tokens: number -> (rv, entries that remain)
        self._page_numbers = itertools.count(1)

    @property
    def first_cluster_address(self):
        """The cluster address of default/kubernetes."""
        return self._allocator.first_address

    # --- reading ---

    def get(self, res, namespace, name):
        """One entry; 404."""
        entry = self.store.get(res, namespace, name)
        if entry is None:
            raise errors.not_found(res, name)
        return entry

    def select(self, res, namespace, query):
        """The selection a list or watch request asks for; 400."""
        return Selection(namespace, parse_labels(query.get("labelSelector", "")),
                         parse_fields(query.get("fieldSelector", ""), res.selectable,
                                      res.api_version))

    def list(self, res, selection, query):
        """(entries, metadata of the list): whole, or one page of it."""
        limit = _number(query, "limit")
        rv = self.store.rv
        if query.get("continue"):
            rv, entries = self._resume(query["continue"])
        else:
            table = self.store.table(res)
            entries = table.in_order()
            if not selection.everything:
                entries = [e for e in entries if selection.matches(e)]
            if query.get("resourceVersion") == "0":
                limit = 0       # served from the watch cache, which does not page
        meta = {"resourceVersion": str(rv)}
        if limit and len(entries) > limit:
            number = next(self._page_numbers)
            rest = entries[limit:]
            self._pages[number] = (rv, rest)
            if len(self._pages) > _PAGES_KEPT:
                del self._pages[next(iter(self._pages))]
            token = json.dumps({"v": "meta.k8s.io/v1", "rv": rv, "page": number})
            meta["continue"] = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
            if not selection.labels and not selection.fields:
                meta["remainingItemCount"] = len(rest)
            entries = entries[:limit]
        return entries, meta

    def forget_pages(self):
        """Makes all continue tokens expire."""
        self._pages.clear()

    def _resume(self, token):
        try:
            record = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            number = record["page"]
        except (ValueError, KeyError, TypeError):
            raise errors.bad_request(f"continue key is not valid: {token!r}") from None
        if number not in self._pages:
            raise errors.expired("The provided continue parameter is too old to display a "
                                 "consistent list result. You can start a new list without the "
                                 "continue parameter.")
        return self._pages[number]

    # --- writing ---

    def decode(self, res, body):
        """(typed object with defaults, names of the fields that were dropped); 400."""
        if not isinstance(body, dict):
            raise errors.bad_request("the body of the request is no object")
        if body.get("kind") not in (None, "", res.kind) or (
                body.get("apiVersion") not in (None, "", res.api_version)):
            raise errors.bad_request(
                f'{body.get("kind")} in version "{body.get("apiVersion")}" cannot be handled as '
                f"a {res.kind}: expected {res.kind} in version {res.api_version}")
        if not isinstance(body.get("metadata") or {}, dict):
            raise errors.bad_request("metadata is no object")
        decoder = Decoder(res.kind, res.version)
        obj = decoder.object(copy.deepcopy(body), res.schema)
        rules.default(res, obj)
        return obj, decoder.unknown

    def create(self, res, namespace, obj, dry=False):
        """Makes an object; 409 AlreadyExists, 404 (no namespace), 422."""
        meta = obj["metadata"]
        self._place(res, namespace, meta)
        if meta.get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be "
                                  "created")
        if not meta.get("name"):
            if not meta.get("generateName"):
                raise errors.invalid(res.kind, res.group, "", [
                    errors.required("metadata.name", "name or generateName is required")])
            meta["name"] = meta["generateName"][:58] + "".join(
                secrets.choice(_SUFFIX) for _ in range(5))
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            meta.pop(field, None)
        self._check_namespace(res, namespace)
        if self.store.get(res, namespace, meta["name"]):
            raise errors.already_exists(res, meta["name"])
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now()
        rules.prepare_create(res, obj)
        self._check(res, obj, None, "")
        if dry:
            return Entry(res, obj, 0)
        return self.store.put(res, obj)

    def replace(self, res, namespace, name, obj, part="", dry=False):
        """PUT: (entry, whether it was made).  409 Conflict if the resourceVersion is not the
        current one, 404, 422."""
        meta = obj["metadata"]
        self._place(res, namespace, meta)
        if meta.get("name", "") != name:
            raise errors.bad_request(f"the name of the object ({meta.get('name', '')}) does not "
                                     f"match the name on the URL ({name})")
        current = self.store.get(res, namespace, name)
        if current is None:
            if not res.create_on_update or part:
                raise errors.not_found(res, name)
            if meta.get("uid"):
                raise _uid_conflict(res, name, meta["uid"], "")
            meta.pop("resourceVersion", None)
            return self.create(res, namespace, obj, dry), True
        if meta.get("uid") and meta["uid"] != current.obj["metadata"]["uid"]:
            raise _uid_conflict(res, name, meta["uid"], current.obj["metadata"]["uid"])
        if not meta.get("resourceVersion") and not res.unconditional:
            raise errors.invalid(res.plural, res.group, name, [errors.bad_value(
                "metadata.resourceVersion", 0, "must be specified for an update")])
        if meta.get("resourceVersion", str(current.rv)) != str(current.rv):
            raise errors.conflict(res, name)
        return self._update(current, obj, part, dry), False

    def patch(self, res, namespace, name, kind, change, part="", dry=False):
        """PATCH by `kind` (merge, json): (entry, dropped field names)."""
        current = self.get(res, namespace, name)
        whole = {"kind": res.kind, "apiVersion": res.api_version, **current.obj}
        if kind == "json":
            changed = patch.json_patch(whole, change)
        elif isinstance(change, dict):
            changed = patch.merge(whole, change)
        else:
            raise errors.bad_request("a merge patch is an object")
        try:
            obj, unknown = self.decode(res, changed)
        except errors.ApiError as error:
            raise errors.invalid("", "", "", [
                errors.bad_value("patch", changed, error.message)]) from None
        meta = obj["metadata"]
        if meta.get("name") != name or meta.get("namespace", "") != current.namespace:
            raise errors.bad_request("a patch may not change metadata.name or .namespace")
        if meta.get("uid", current.obj["metadata"]["uid"]) != current.obj["metadata"]["uid"]:
            raise _uid_conflict(res, name, meta["uid"], current.obj["metadata"]["uid"])
        if meta.get("resourceVersion", str(current.rv)) != str(current.rv):
            raise errors.conflict(res, name)
        return self._update(current, obj, part, dry), unknown

    def delete(self, res, namespace, name, options, dry=False):
        """DELETE: (entry, whether it is gone).  With finalizers it is only marked."""
        current = self.get(res, namespace, name)
        meta = current.obj["metadata"]
        wanted = options.get("preconditions") or {}
        for field, have in (("uid", meta["uid"]), ("resourceVersion", str(current.rv))):
            if wanted.get(field) not in (None, have):
                shown = {"uid": "UID", "resourceVersion": "ResourceVersion"}[field]
                raise errors.precondition(res, name, shown, wanted[field], have)
        if dry:
            return current, True
        if res == NAMESPACES:
            return self._terminate(current), False
        if meta.get("finalizers"):
            if meta.get("deletionTimestamp"):
                return current, False
            return self._mark(current), False
        return self.store.remove(current), True

    def _mark(self, current):
        obj = copy.deepcopy(current.obj)
        obj["metadata"]["deletionTimestamp"] = now()
        obj["metadata"]["deletionGracePeriodSeconds"] = 0
        return self.store.put(current.resource, obj)

    def _terminate(self, current):
        """Deletes a namespace: marks it, empties it, removes it, as the real server and the
        controller manager do between them."""
        marked = current
        if current.obj["status"]["phase"] != "Terminating":
            obj = copy.deepcopy(current.obj)
            obj["metadata"]["deletionTimestamp"] = now()
            obj["status"]["phase"] = "Terminating"
            marked = self.store.put(NAMESPACES, obj)
        self._finish_namespace(marked.name)
        return marked

    def _finish_namespace(self, namespace):
        """Removes a terminating namespace once nothing in it waits for a finalizer."""
        current = self.store.get(NAMESPACES, "", namespace)
        if current is None or current.obj["status"]["phase"] != "Terminating":
            return
        left = 0
        for table in self.store.tables.values():
            for entry in [e for e in table.in_order() if e.namespace == namespace]:
                meta = entry.obj["metadata"]
                if not meta.get("finalizers"):
                    self.store.remove(entry)
                    continue
                left += 1
                if not meta.get("deletionTimestamp"):
                    self._mark(entry)
        if not left and not current.obj["metadata"].get("finalizers"):
            self.store.remove(current)

    def _update(self, current, new, part, dry):
        res, old = current.resource, current.obj
        meta, was = new["metadata"], old["metadata"]
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "generation", "namespace",
                      "deletionGracePeriodSeconds", "resourceVersion", "generateName"):
            meta.pop(field, None)
            if field in was:
                meta[field] = was[field]
        new = copy.deepcopy(new)
        rules.prepare_update(res, new, copy.deepcopy(old), part)
        self._check(res, new, old, part)
        if new == old:
            return current
        if dry:
            return Entry(res, new, current.rv)
        if was.get("deletionTimestamp") and was.get("finalizers") and (
                not new["metadata"].get("finalizers")) and res != NAMESPACES:
            self.store.remove(current, new)
            self._finish_namespace(current.namespace)
            return Entry(res, new, current.rv)
        return self.store.put(res, new)

    def _check(self, res, new, old, part):
        found = rules.validate(res, new, old, part)
        if found:
            # Events are the core kind behind both of their groups.
            group = "" if res.kind == "Event" else res.group
            raise errors.invalid(res.kind, group, new["metadata"]["name"], found)
        if res.kind == "Service" and not part:
            self._allocator.fill(new, (new["metadata"]["namespace"], new["metadata"]["name"]))

    def _place(self, res, namespace, meta):
        """Takes the namespace from the URL; 400 if the object says another."""
        if not res.namespaced:
            meta.pop("namespace", None)
            return
        if meta.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request("the namespace of the provided object does not match the "
                                     "namespace sent on the request")

    def _check_namespace(self, res, namespace):
        if not res.namespaced:
            return
        found = self.store.get(NAMESPACES, "", namespace)
        if found is None:
            raise errors.not_found(NAMESPACES, namespace)
        if found.obj["status"]["phase"] == "Terminating":
            raise errors.forbidden(res, "", f"unable to create new content in namespace "
                                   f"{namespace} because it is being terminated")


def _uid_conflict(res, name, wanted, have):
    return errors.conflict(res, name, f"StorageError: invalid object, Code: 4, Key: , "
                           f"ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
                           f"precondition: {wanted}, UID in object meta: {have}")


def _number(query, name):
    text = query.get(name) or "0"
    if not text.isdigit():
        raise errors.bad_request(f"strconv.ParseInt: parsing {text!r}: invalid syntax ({name})")
    return int(text)

"""Label and field selectors of list and watch requests."""

import re

from .errors import bad_request

_KEY = r"(?:[A-Za-z0-9.\-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.\-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.\-]*[A-Za-z0-9])?)?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<nokey>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<op>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)")


def parse_labels(text):
    """A list of (key, operator, values) terms; all must hold.  400 if it cannot be read."""
    terms = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if not match or match.end() == at:
            raise bad_request(f"unable to parse requirement: found {text[at:]!r}")
        at = match.end()
        if match["absent"]:
            terms.append((match["nokey"], "!", ()))
        elif match["op"]:
            terms.append((match["key"], "!=" if match["op"] == "!=" else "=", (match["value"],)))
        elif match["set"]:
            values = tuple(v.strip() for v in match["values"].split(","))
            terms.append((match["key"], match["set"], values))
        else:
            terms.append((match["key"], "exists", ()))
    return terms


def labels_match(terms, labels):
    """Whether a set of labels satisfies every term."""
    for key, operator, values in terms:
        have = labels.get(key)
        if operator in ("=", "in"):
            good = have in values and have is not None
        elif operator in ("!=", "notin"):
            good = have not in values or have is None
        else:
            good = (have is None) == (operator == "!")
        if not good:
            return False
    return True


def parse_fields(text, supported, what):
    """A list of (path, equal, value).  400 for a field the kind cannot be selected by."""
    terms = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"\s*([A-Za-z0-9_.\-/]+)\s*(==|=|!=)\s*(.*)", term)
        if not match:
            raise bad_request(f"invalid selector: {text!r}; can't understand {term!r}")
        path, operator, value = match.groups()
        if path not in supported:
            raise bad_request(f'"{path}" is not a known field selector: field label not '
                              f"supported: {path} ({what})")
        terms.append((path, operator != "!=", value))
    return terms


def field_value(obj, path):
    """The value of a field as selectors compare it: text, empty if absent."""
    at = obj
    for part in path.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    if at is None:
        return ""
    return str(at).lower() if isinstance(at, bool) else str(at)


class Selection:
    """What a list or watch request wants to see of one table."""

    def __init__(self, namespace, labels, fields):
        self.namespace = namespace
        self.labels = labels
        self.fields = fields
        self.everything = not namespace and not labels and not fields
        self.name = next((v for p, eq, v in fields if p == "metadata.name" and eq), None)

    def matches(self, entry):
        """Whether an entry of the store is wanted."""
        if self.everything:
            return True
        if self.namespace and entry.namespace != self.namespace:
            return False
        if self.name is not None and entry.name != self.name:
            return False
        for path, equal, value in self.fields:
            if (field_value(entry.obj, path) == value) != equal:
                return False
        return not self.labels or labels_match(self.labels,
                                               entry.obj["metadata"].get("labels") or {})

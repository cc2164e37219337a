"""The ways a request can fail, as Kubernetes Status objects.

ApiError is raised anywhere below the HTTP layer, which turns it into the answer.  The texts follow
the real server's where a client could reasonably depend on them.
"""

import json


class ApiError(Exception):
    """A failed request: HTTP code, machine-readable reason, text, and details of the Status."""

    def __init__(self, code, reason, message, details=None, headers=None):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}

    def status(self):
        """The Status object that a client sees."""
        obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
               "message": self.message}
        if self.reason:
            obj["reason"] = self.reason
        if self.details:
            obj["details"] = self.details
        obj["code"] = self.code
        return obj


class FieldError:
    """One rejected field of an object."""

    def __init__(self, reason, path, text):
        self.reason = reason
        self.path = path
        self.text = text

    def cause(self):
        """The entry in Status.details.causes."""
        return {"reason": self.reason, "message": self.text, "field": self.path}

    def __str__(self):
        return f"{self.path}: {self.text}"


def show(value):
    """A rejected value as the real server prints it: JSON."""
    return json.dumps(value)


def bad_value(path, value, detail):
    """A value that breaks a rule."""
    return FieldError("FieldValueInvalid", path, f"Invalid value: {show(value)}: {detail}")


def required(path, detail=""):
    """A field that must be set."""
    return FieldError("FieldValueRequired", path,
                      f"Required value: {detail}" if detail else "Required value")


def duplicate(path, value):
    """A value that may occur once only."""
    return FieldError("FieldValueDuplicate", path, f"Duplicate value: {show(value)}")


def not_supported(path, value, allowed):
    """A value outside an enumeration."""
    names = ", ".join(show(a) for a in sorted(allowed))
    return FieldError("FieldValueNotSupported", path,
                      f"Unsupported value: {show(value)}: supported values: {names}")


def not_allowed(path, detail):
    """A field that must not be set here."""
    return FieldError("FieldValueForbidden", path, f"Forbidden: {detail}")


def qualified(name, group):
    """A resource or kind with its group, as messages show it."""
    return f"{name}.{group}" if group else name


def _details(res, name, **more):
    details = {"name": name}
    if res.group:
        details["group"] = res.group
    details["kind"] = res.plural
    details.update(more)
    return details


def bad_request(message):
    """400: the request itself makes no sense."""
    return ApiError(400, "BadRequest", message)


def unauthorized():
    """401: credentials that are not valid."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(res, name, why):
    """403 for an object or collection."""
    shown = qualified(res.plural, res.group)
    text = f'{shown} "{name}" is forbidden: {why}' if name else f"{shown} is forbidden: {why}"
    details = _details(res, name) if name else {
        k: v for k, v in (("group", res.group), ("kind", res.plural)) if v}
    return ApiError(403, "Forbidden", text, details)


def forbidden_path(user, verb, path):
    """403 for a path that is no resource."""
    return ApiError(403, "Forbidden", f'forbidden: User "{user}" cannot {verb} path "{path}"', {})


def not_found(res, name):
    """404 for an object."""
    return ApiError(404, "NotFound", f'{qualified(res.plural, res.group)} "{name}" not found',
                    _details(res, name))


def unknown_resource():
    """404 for a kind the server does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def wrong_method():
    """405: the resource has no such verb."""
    return ApiError(405, "MethodNotAllowed",
                    "the server does not allow this method on the requested resource", {})


def already_exists(res, name):
    """409 on POST."""
    return ApiError(409, "AlreadyExists",
                    f'{qualified(res.plural, res.group)} "{name}" already exists',
                    _details(res, name))


def conflict(res, name, why="the object has been modified; please apply your changes to the "
             "latest version and try again"):
    """409 on a write whose precondition does not hold."""
    shown = qualified(res.plural, res.group)
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {shown} "{name}": {why}',
                    _details(res, name))


def precondition(res, name, what, wanted, have):
    """409 on DELETE whose precondition does not hold."""
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on '
                    f'{qualified(res.kind, res.group)} "{name}": the {what} in the precondition '
                    f"({wanted}) does not match the {what} in record ({have})",
                    {**_details(res, name), "kind": res.kind})


def expired(message):
    """410: a resourceVersion or continue token that is too old."""
    return ApiError(410, "Expired", message)


def unsupported_media(allowed):
    """415: a body in a format that is not taken."""
    return ApiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format"
                    " - accepted media types include: " + ", ".join(allowed))


def invalid(kind, group, name, errors):
    """422: an object with rejected fields."""
    texts = [str(e) for e in errors]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = {k: v for k, v in (("name", name), ("group", group), ("kind", kind)) if v}
    details["causes"] = [e.cause() for e in errors]
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {joined}',
                    details)


def throttled(seconds=1):
    """429: come back later."""
    return ApiError(429, "TooManyRequests", "too many requests, please try again later",
                    {"retryAfterSeconds": seconds}, {"Retry-After": str(seconds)})


def too_new(wanted, current):
    """504: a resourceVersion this server has not seen yet."""
    return ApiError(504, "Timeout", f"Too large resource version: {wanted}, current: {current}",
                    {"causes": [{"reason": "ResourceVersionTooLarge",
                                 "message": "Too large resource version"}],
                     "retryAfterSeconds": 1}, {"Retry-After": "1"})

"""What a client is told when something is wrong: OpenAI's error object, whatever the cause."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

AS_TEXT, AS_LIST = "(text)", "(list)"
"""How pydantic's errors call the two forms of a field that is a text or a list."""
_WRONG = {"model_attributes_type": "expected an object"}
"""Better words for some of pydantic's."""
_LONGEST = 500


class ErrorBody(BaseModel):
    """Say what was wrong; `param` names the field of the request, `code` the kind of problem."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """OpenAI's error object."""

    error: ErrorBody


class ApiError(Exception):
    """Raise this to answer a request with an error; `headers` are added to the response."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        # It may repeat what a client sent, which may be long.
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + "…"
        self.code = code
        self.param = None if param is None else param[:_LONGEST]
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error object."""
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """Return the HTTP response."""
        # Escaped to ASCII: a message may repeat what a client sent, half a surrogate pair included.
        content = json.dumps(self.body()).encode()
        return Response(content, self.status, self.headers, media_type="application/json")


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Return the error for a request that cannot be answered as it is."""
    return ApiError(400, message, code, param=param)


def model_failed() -> ApiError:
    """Return the error for a request on which the model failed; the log says where."""
    return ApiError(500, "the model failed on this request", "model_failed")


def of_status(status: int, headers: Mapping[str, str] | None = None) -> ApiError:
    """Return the error for a status that the router answers with."""
    if status == 404:
        return ApiError(404, "there is nothing at this address; see /openapi.json", "not_found")
    if status == 405:
        methods = set((headers or {}).get("allow", "").replace(",", " ").split())
        # Where GET answers, HEAD does.
        allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
        return ApiError(405, f"this address expects {allowed}", "method_not_allowed", headers={"allow": allowed})
    return ApiError(status, "the request could not be read; expected a JSON object in UTF-8", "unreadable")


def of_validation(errors: Sequence[Any]) -> ApiError:
    """Return the first of pydantic's errors, without repeating what was sent."""
    first = errors[0]
    # First comes where the field was: in the body, the query or the path.
    path = [str(part) for part in first["loc"][1:] if part not in (AS_TEXT, AS_LIST)]
    kind = first["type"]
    if kind == "json_invalid":
        return invalid("the body is not JSON", code="invalid_json")
    if kind == "extra_forbidden":
        return invalid(f"unknown field {path[-1]!r}; see /openapi.json", ".".join(path), "unknown_parameter")
    if kind == "unsupported":
        param = first["ctx"]["param"]
        return invalid(first["msg"], ".".join([*path, param]) if param else ".".join(path), "unsupported_parameter")
    named = ".".join(path) or None
    wrong = _WRONG.get(kind, f"{first['msg'][:1].lower()}{first['msg'][1:]}")
    return invalid(f"{named or 'the body'}: {wrong}", named)

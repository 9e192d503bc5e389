"""
What agents and reviewers send: strict JSON, and nothing in it that is not known.

Names are those of `POST /agent-requests` of aip-k8s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.requests import Request

from wardgate.approvals.desk import Refusal
from wardgate.policy import AGENTS_BODY_BYTES
from wardgate.verify.strict_json import NotStrictJson, parse

Body = TypeVar("Body", bound=BaseModel)

# control characters would let one line of a log, or of a reviewer's screen, look like another
_Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class HttpRequest(_Strict):
    """The one request that an approval is to grant: at the targetURI, with this body (none: an empty one)."""

    method: Annotated[str, StringConstraints(max_length=32, pattern=r"^[A-Z][A-Z-]*$")]
    bodySha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class AskBody(_Strict):
    """A new request. Who asks is said by the token; `agentIdentity` may repeat it."""

    agentIdentity: _Name | None = None
    action: _Name
    targetURI: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    reason: _Text = ""
    namespace: Annotated[str, StringConstraints(max_length=63)] | None = None
    correlationID: _Name | None = None
    classification: (
        Annotated[str, StringConstraints(max_length=255, pattern=r"^[a-z][a-z0-9-]*/[a-z][a-z0-9-]*$")] | None
    ) = None
    dedupKey: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    priority: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    executionMode: Literal["single", "scoped"] | None = None
    parameters: dict[str, Any] | None = None
    cascadeModel: dict[str, Any] | None = None
    reasoningTrace: dict[str, Any] | None = None
    scopeBounds: dict[str, Any] | None = None
    httpRequest: HttpRequest | None = None

    def content(self) -> dict[str, Any]:
        """What is kept as it was sent."""
        return self.model_dump(
            exclude_none=True,
            exclude={"agentIdentity", "action", "targetURI", "reason", "dedupKey", "namespace"},
        )


class ReasonBody(_Strict):
    """Why a reviewer decides so."""

    reason: _Text = ""


class CompletedBody(_Strict):
    """How it went."""

    success: bool = True
    message: _Text = ""
    result: dict[str, Any] | None = None


async def read(request: Request, kind: type[Body], *, required: bool = True) -> Body:
    """The body. An empty one is one without fields, unless `required`. Raises Refusal: 400, 413 or 415."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > AGENTS_BODY_BYTES:
            raise Refusal(413, f"the body has more than {AGENTS_BODY_BYTES} bytes")
    if not raw and not required:
        return kind()
    media, _, _ = request.headers.get("content-type", "").partition(";")
    if media.strip().lower() != "application/json":
        raise Refusal(415, "Content-Type must be application/json")
    try:
        return kind.model_validate(parse(bytes(raw)))
    except NotStrictJson as error:
        raise Refusal(400, f"invalid request body: {error}") from error
    except ValidationError as error:
        raise Refusal(400, _words(error, kind)) from error


def _words(error: ValidationError, kind: type[BaseModel]) -> str:
    """All that is wrong; S2's own words where the two fields are missing that it asks for."""
    found = error.errors()
    missing = {str(each["loc"][0]) for each in found if each["type"] == "missing"}
    if kind is AskBody and missing & {"action", "targetURI"}:
        return "action and targetURI are required"
    told = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {_one(each)}" for each in found[:8])
    return f"invalid request body: {told}"


def _one(each: Any) -> str:
    return "is not known" if each["type"] == "extra_forbidden" else str(each["msg"])

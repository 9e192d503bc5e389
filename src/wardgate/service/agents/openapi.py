"""The API as OpenAPI 3.1: what is where, what may be sent, what comes back."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from wardgate import __version__
from wardgate.approvals.records import Phase
from wardgate.service.agents.bodies import AskBody, CompletedBody, ReasonBody

_WHY = {
    400: "The request is not of the form that is asked for.",
    401: "No token, or one that is not valid here.",
    403: "The caller has not the role, or decides on a request of their own.",
    404: "No such request, or none that the caller may read.",
    409: "Not in this phase, or decided otherwise before.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "This Idempotency-Key was used for another request.",
    429: "The agent asks too often.",
    503: "The store, or the issuer's keys, cannot be reached now. Nothing was done, or the same again does nothing.",
}


@cache
def document() -> dict[str, Any]:
    _, models = models_json_schema(
        [(AskBody, "validation"), (ReasonBody, "validation"), (CompletedBody, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    one = {"parameters": [name]}
    reader = _operation("read", "A request as it stands", {200: "AgentRequest"}, 400, 401, 403, 404, 503)
    paths: dict[str, Any] = {
        "/agent-requests": {
            "get": {
                **_operation(
                    "list", "Requests, the newest first", {200: "AgentRequests"}, 400, 401, 403, 503
                ),
                "parameters": [
                    _query("phase", {"type": "string", "enum": [phase.value for phase in Phase]}),
                    _query("agent", {"type": "string"}),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 200}),
                    _query("cursor", {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}),
                ],
            },
            "post": {
                **_operation(
                    "ask",
                    "Ask to do something; 200: it was asked for before",
                    {200: "AgentRequest", 201: "AgentRequest"},
                    *(400, 401, 403, 413, 415, 422, 429, 503),
                    body="AskBody",
                ),
                "parameters": [
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                    }
                ],
            },
        },
        "/agent-requests/{name}": {**one, "get": reader},
        "/agent-requests/{name}/watch": {
            **one,
            "get": {
                **_operation("watch", "Its changes, as they come", {}, 400, 401, 403, 404, 503),
                "parameters": [_query("until", {"enum": ["decision", "end"]})],
                "responses": {
                    "200": {
                        "description": "Events: update, result, error",
                        "content": {"text/event-stream": {}},
                    },
                    **_refusals(400, 401, 403, 404, 503),
                },
            },
        },
        "/audit-records": {
            "get": {
                **_operation("record", "The record, in order", {200: "AuditRecords"}, 400, 401, 403, 503),
                "parameters": [
                    _query("after", {"type": "integer", "minimum": 0}),
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}),
                    _query("request", {"type": "string"}),
                ],
            }
        },
        "/whoami": {
            "get": _operation("whoami", "Who calls, and their roles", {200: "Caller"}, 400, 401, 503)
        },
    }
    verbs = {
        "approve": ("Let the agent do it", "ReasonBody"),
        "deny": ("Do not let the agent do it", "ReasonBody"),
        "revoke": ("Take an approval back", "ReasonBody"),
        "grant": ("What the agent shows to make the httpRequest that was approved", "ReasonBody"),
        "executing": ("The agent begins", "ReasonBody"),
        "completed": ("The agent has done it, or failed", "CompletedBody"),
    }
    for verb, (words, body) in verbs.items():
        refusals = (400, 401, 403, 404, 409, 413, 415, *((429,) if verb == "grant" else ()), 503)
        good = {200: "Grant" if verb == "grant" else "AgentRequest"}
        posted = _operation(verb, words, good, *refusals, body=body, required=False)
        paths[f"/agent-requests/{{name}}/{verb}"] = {**one, "post": posted}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Requests of agents", "version": __version__},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": {**models.get("$defs", {}), **_SCHEMAS},
        },
    }


def _operation(
    name: str,
    summary: str,
    good: dict[int, str],
    *refusals: int,
    body: str | None = None,
    required: bool = True,
) -> dict[str, Any]:
    answers = {
        str(status): {"description": summary, "content": _json(schema)} for status, schema in good.items()
    }
    found: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {**answers, **_refusals(*refusals)},
    }
    if body is not None:
        found["requestBody"] = {"required": required, "content": _json(body)}
    return found


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": _WHY[status], "content": _json("Error")} for status in statuses}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


_TEXT = {"type": "string"}

_SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "Condition": {
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            "type": _TEXT,
            "status": {"const": "True"},
            "reason": _TEXT,
            "message": _TEXT,
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "by": _TEXT,
        },
    },
    "AgentRequest": {
        "type": "object",
        "required": ["name", "phase", "conditions", "agentIdentity", "action", "targetURI", "createdAt"],
        "properties": {
            "name": _TEXT,
            "phase": {"enum": [phase.value for phase in Phase]},
            "conditions": {"type": "array", "items": {"$ref": "#/components/schemas/Condition"}},
            "agentIdentity": _TEXT,
            "action": _TEXT,
            "targetURI": _TEXT,
            "reason": _TEXT,
            "createdAt": {"type": "string", "format": "date-time"},
            "expiresAt": {"type": "string", "format": "date-time"},
            "policyResults": {"type": "array", "items": {"type": "object"}},
            "denial": {"type": "object"},
            "result": {"type": "object"},
        },
    },
    "Grant": {
        "type": "object",
        "required": ["grant", "header", "expiresAt"],
        "properties": {
            "grant": {"type": "string", "description": "A JWT; its keys are at /.well-known/jwks.json."},
            "header": _TEXT,
            "expiresAt": {"type": "string", "format": "date-time"},
        },
    },
    "AgentRequests": {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/AgentRequest"}},
            "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
        },
    },
    "AuditRecords": {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "next": {"type": ["integer", "null"]},
        },
    },
    "Caller": {
        "type": "object",
        "required": ["identity", "subject", "issuer", "roles", "groups"],
        "properties": {
            "identity": _TEXT,
            "subject": _TEXT,
            "issuer": _TEXT,
            "roles": {"type": "array", "items": _TEXT},
            "groups": {"type": "array", "items": _TEXT},
        },
    },
}

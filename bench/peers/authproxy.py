"""
A forward-auth service as S1 describes it: FastAPI and PyJWT, one `/auth`, roles by URL prefix.

Made to be fast in its way, so that the comparison is fair: one uvicorn worker on uvloop and httptools, the issuer's keys
fetched once and kept as keys, the mapping sorted once, no access log. Run by `bench/forward_auth.py`, in an environment
of its own (`requirements/bench.txt`).

    ISSUER, AUDIENCE, MAPPING (a YAML file), PORT
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jwt
import uvicorn
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

ISSUER, AUDIENCE = os.environ["ISSUER"], os.environ["AUDIENCE"]

MAPPING: dict[str, list[str]] = yaml.safe_load(Path(os.environ["MAPPING"]).read_text("utf-8"))
PREFIXES = sorted(MAPPING, key=len, reverse=True)
KEYS: dict[str, Any] = {}

app = FastAPI(openapi_url=None)


def key_of(token: str) -> Any:
    kid = jwt.get_unverified_header(token)["kid"]
    if kid not in KEYS:
        found = jwt.PyJWKClient(f"{ISSUER}/protocol/openid-connect/certs").get_signing_keys()
        KEYS.update({key.key_id: key.key for key in found})
    return KEYS[kid]


def refused(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


@app.get("/auth")
async def auth(request: Request) -> JSONResponse:
    uri = request.headers.get("x-forwarded-uri", "")
    path = uri.split("?")[0]
    prefix = next((one for one in PREFIXES if path == one or path.startswith(one.rstrip("/") + "/")), None)
    if prefix is None:
        return refused(403, f"No access control configured for: {uri}")
    required = MAPPING[prefix]
    if not required:
        return JSONResponse({"message": "Public access granted", "user_id": None, "roles": []})
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        return refused(401, "Missing or malformed Authorization header")
    try:
        claims = jwt.decode(token, key_of(token), algorithms=["RS256"], audience=AUDIENCE)
    except jwt.ExpiredSignatureError:
        return refused(401, "Token expired")
    except (jwt.PyJWTError, KeyError) as error:
        return refused(401, f"Invalid token: {error}")
    roles = {
        *claims.get("realm_access", {}).get("roles", ()),
        *claims.get("resource_access", {}).get(AUDIENCE, {}).get("roles", ()),
    }
    if roles.isdisjoint(required):
        return refused(403, f"Insufficient roles. Required: {required}")
    told = {"message": "Authentication successful", "user_id": claims["sub"], "roles": sorted(roles)}
    return JSONResponse(told, headers={"X-User-Id": claims["sub"]})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )

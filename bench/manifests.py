"""
The parts of Gateway API manifests: S3's route for native clients, and the same policy as one writes it for Envoy by hand.
"""

from __future__ import annotations

import json
import tempfile
from typing import Any

import httpx
from processes import Part
from tests.parts.loopback import free_port

from parts import PATH, Bench, connection_manager, envoy, envoy_config

JWT_AUTHN = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
CERTS = "/protocol/openid-connect/certs"


def by_hand(bench: Bench, name: str, *, cached: bool = False) -> Part:
    """`jwt_authn` with the keys in it; `cached`: verified tokens are remembered, which no product's policy asks for."""
    port = free_port()
    config = envoy_config("raw-envoy.json", port, bench.upstream_port)
    keys = httpx.get(bench.issuer.url + CERTS).text
    provider: dict[str, Any] = {
        "issuer": bench.issuer.url,
        "forward": True,
        "payload_in_metadata": "keycloak",
        "local_jwks": {"inline_string": keys},
    }
    if cached:
        provider["jwt_cache_config"] = {"jwt_cache_size": 10_000}
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "keycloak"}}]
    authn = {"@type": JWT_AUTHN, "providers": {"keycloak": provider}, "rules": rules}
    connection_manager(config)["http_filters"].insert(
        0, {"name": "envoy.filters.http.jwt_authn", "typed_config": authn}
    )
    return bench.start(name, envoy(bench.folder, name.replace(" ", "-"), config), port)


def wardgate_manifests(bench: Bench, name: str, routes: int = 1) -> Part:
    """So many HTTPRoutes, each with a path of its own; all of them need a JWT by one policy."""
    file = bench.folder / f"manifests-{routes}.yaml"
    file.write_text("\n---\n".join(json.dumps(one) for one in _manifests(bench, routes)), encoding="utf-8")
    port = free_port()
    command = [*bench.command, "run", "--concurrency", "1", "-c", str(file), f"--listen-offset={port - 80}"]
    command += ["--resolve", f"default/app:80=127.0.0.1:{bench.upstream_port}"]
    command += ["--set", "listen-host=127.0.0.1", "--set", "access-log=false"]
    state = tempfile.mkdtemp(prefix="state-", dir=bench.folder)
    return bench.start(name, command, port, path_of(0), WARDGATE_STATE_DIR=state)


def path_of(number: int) -> str:
    return PATH if number == 0 else f"/r{number:05}/x"


def _manifests(bench: Bench, routes: int) -> list[dict[str, Any]]:
    version = "gateway.networking.k8s.io/v1"
    gateway = {
        "apiVersion": version,
        "kind": "Gateway",
        "metadata": {"name": "public"},
        "spec": {"gatewayClassName": "any", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    }
    found = [
        {
            "apiVersion": version,
            "kind": "HTTPRoute",
            "metadata": {"name": f"r{number:05}"},
            "spec": {
                "parentRefs": [{"name": "public"}],
                "rules": [
                    {
                        "matches": [{"path": {"value": path_of(number).rpartition("/")[0]}}],
                        "backendRefs": [{"name": "app", "port": 80}],
                    }
                ],
            },
        }
        for number in range(routes)
    ]
    provider = {
        "name": "keycloak",
        "issuer": bench.issuer.url,
        "remoteJWKS": {"uri": bench.issuer.url + CERTS},
    }
    policy = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "jwt"},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}],
            "jwt": {"providers": [provider]},
        },
    }
    return [gateway, *found, policy]

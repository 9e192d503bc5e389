"""S2's realm on real Keycloak, and its curl lines as it writes them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.holding.agents import AGENT, REVIEWER, AgentGateway
from tests.parts.keycloak import ADMIN, ADMIN_PASSWORD, Keycloak


def curl(*arguments: str) -> tuple[int, Any]:
    """Status and body, which is JSON unless it is not."""
    done = subprocess.run(
        ["curl", "-s", *arguments, "-w", "\n%{http_code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    body, _, status = done.stdout.rpartition("\n")
    try:
        return int(status), json.loads(body)
    except ValueError:
        return int(status), body


def admin_token(keycloak: Keycloak) -> str:
    data = ["client_id=admin-cli", f"username={ADMIN}", f"password={ADMIN_PASSWORD}", "grant_type=password"]
    _, answer = curl(
        *("-X", "POST", f"{keycloak.url}/realms/master/protocol/openid-connect/token"),
        *(part for each in data for part in ("-d", each)),
    )
    return str(answer["access_token"])


def aip_realm(keycloak: Keycloak) -> str:
    """S2, step 2: the realm, its two clients and their audience; and one client without. Its issuer."""
    admin = ["-H", f"Authorization: Bearer {admin_token(keycloak)}", "-H", "Content-Type: application/json"]
    realms = f"{keycloak.url}/admin/realms"
    assert curl("-X", "POST", realms, *admin, "-d", '{"realm":"aip","enabled":true}')[0] == 201
    for client in (AGENT, REVIEWER, "aip-agent-9", "no-audience"):
        wanted = {
            "clientId": client,
            "enabled": True,
            "publicClient": False,
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "directAccessGrantsEnabled": False,
            "clientAuthenticatorType": "client-secret",
            "secret": f"{client}-secret",
        }
        assert curl("-X", "POST", f"{realms}/aip/clients", *admin, "-d", json.dumps(wanted))[0] == 201
        if client == "no-audience":
            continue
        _, found = curl(f"{realms}/aip/clients?clientId={client}", *admin)
        mapper = {
            "name": "audience-aip-gateway",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-audience-mapper",
            "config": {
                "included.custom.audience": "aip-gateway",
                "id.token.claim": "true",
                "access.token.claim": "true",
            },
        }
        path = f"{realms}/aip/clients/{found[0]['id']}/protocol-mappers/models"
        assert curl("-X", "POST", path, *admin, "-d", json.dumps(mapper))[0] == 201
    return keycloak.issuer("aip")


def token(issuer: str, client: str) -> str:
    """S2, step 4."""
    status, answer = curl(
        *("-X", "POST", f"{issuer}/protocol/openid-connect/token"),
        *("-d", "grant_type=client_credentials", "-d", f"client_id={client}"),
        *("-d", f"client_secret={client}-secret", "-d", "scope=openid"),
    )
    assert (status, answer["token_type"]) == (200, "Bearer") and 295 < answer["expires_in"] <= 300
    return str(answer["access_token"])


def ask(gateway: AgentGateway, bearer: str) -> tuple[int, Any]:
    """S2, step 5."""
    body = """{
    "agentIdentity": "aip-agent-1",
    "action":        "scale-down",
    "targetURI":     "k8s://prod/default/deployment/payment-api",
    "reason":        "scheduled maintenance window"
  }"""
    return post(gateway, "/agent-requests", bearer, body)


def post(gateway: AgentGateway, path: str, bearer: str, body: str) -> tuple[int, Any]:
    return curl(
        *("-X", "POST", f"http://127.0.0.1:{gateway.port}{path}", "-H", f"Authorization: Bearer {bearer}"),
        *("-H", "Content-Type: application/json", "-d", body),
    )

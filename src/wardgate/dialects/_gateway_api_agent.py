"""
agentgateway's AgentgatewayPolicy (`agentgateway.dev/v1alpha1`): `traffic.jwtAuthentication`.

A provider whose keys are nowhere is kept, without keys: its tokens are refused, the others' are not.
"""

from __future__ import annotations

from typing import Final

from wardgate import policy as model
from wardgate.dialects._gateway_api_objects import Fields, Object
from wardgate.dialects._gateway_api_policies import Issuer, Terms
from wardgate.dialects._gateway_api_routes import duration, service_of
from wardgate.dialects._gateway_api_world import World

GROUP: Final = "agentgateway.dev"
MODES: Final = {
    "Strict": model.Mode.REQUIRED,
    "Optional": model.Mode.OPTIONAL,
    "Permissive": model.Mode.PERMISSIVE,
}


def terms(world: World, policy: Object, spec: Fields) -> Terms:
    """Never raises: what is wrong is in the policy's problems, and its terms are broken."""
    traffic = spec.one("traffic")
    jwt = traffic.one("jwtAuthentication") if traffic else None
    if jwt is None:
        spec.complain("policy-empty", "says nothing of traffic.jwtAuthentication")
        return Terms(policy=policy)
    mode = jwt.text("mode", "Strict") or "Strict"
    if mode not in MODES:
        jwt.complain("policy-mode", "is no mode", "mode", got=mode, hint="Strict, Optional or Permissive")
    found = [_issuer(world, policy, fields) for fields in jwt.many("providers")]
    if not found:
        jwt.complain("policy-provider", "names no provider", "providers")
    return Terms(
        policy=policy,
        mode=MODES.get(mode, model.Mode.REQUIRED),
        issuers=tuple(one for one in found if one is not None),
        hide=True,
    )


def _issuer(world: World, policy: Object, fields: Fields) -> Issuer | None:
    issuer = fields.text("issuer")
    if issuer is None:
        fields.complain("policy-issuer", "names no issuer", "issuer")
        return None
    jwks = fields.one("jwks")
    remote = jwks.one("remote") if jwks else None
    inline = jwks.text("inline") if jwks else None
    if (remote is None) == (inline is None):
        fields.complain("policy-jwks", "needs one of remote and inline", "jwks")
        return None
    url = _url(world, policy, remote) if remote else None
    if remote and url is None:
        return None
    return Issuer(issuer=issuer, audiences=fields.texts("audiences"), jwks_url=url, jwks=inline)


def _url(world: World, policy: Object, fields: Fields) -> str | None:
    duration(fields, "cacheDuration")  # only whether it is one: keys are asked for as the service does
    path = fields.text("jwksPath", "") or ""
    backend = fields.one("backendRef")
    if backend is None or not path:
        fields.complain("policy-jwks", "needs backendRef and jwksPath")
        return None
    service, port, why = service_of(world, policy, backend, granted=True)
    if service is None or why is not None:
        return None
    return f"http://{world.address(service, port)}/{path.removeprefix('/')}"

"""
The names inside the configuration that other files, RDS and statistics refer to. They never change with policy.

The order of HTTP filters is in `listener.py`.
"""

ORIGINAL = "wardgate.original"
STRIP = "wardgate.strip"
GUARD = "wardgate.guard"
CORS = "wardgate.cors"
ASK = "wardgate.ask"
JWT = "wardgate.jwt"
REVOKED = "wardgate.revoked"
RBAC = "wardgate.rbac"
GRANT = "wardgate.grant"
IDENTITY = "wardgate.identity"
ONWARD = "wardgate.onward"
COMPRESSOR = "wardgate.compressor"
ROUTER = "wardgate.router"

REALM = "wardgate"
"""What challenges call what is protected (RFC 9110, 11.5), but where a product is replaced that calls it otherwise."""

CROSS_SITE = "wardgate.cross-site"
BASIC = "wardgate.basic"
RATE = "wardgate.rate"


def external(grpc: bool, opens: bool) -> str:
    return "wardgate.external" + ("-grpc" if grpc else "-http") + ("-open" if opens else "")


BODY_SLOTS = 4
"""
How many different body limits one configuration can have: each is a filter of its own in Envoy, and a watched file,
of which a machine has few (Linux: 128 inotify instances a user).
"""


def body_slot(index: int) -> str:
    return f"wardgate.body-{index}"


METADATA = "wardgate"
"""
Our namespace of dynamic metadata: `subject` (where it is logged), `why` (a reason code), `cache` (what the browser is
told); see `gate.lua`.
"""

DESCRIBED_AT = "described_at"
"""In a route's own metadata: where a description of the route is."""

MALFORMED = f"metadata.filter_metadata['{METADATA}']['why'] == 'credential-malformed'"
"""In CEL: the Authorization header was not of the form that is asked for."""

JWT_METADATA = "envoy.filters.http.jwt_authn"
PAYLOAD = "jwt"
"""The verified claims are at `envoy.filters.http.jwt_authn` / `jwt`, whichever provider verified them."""

ATTESTED_PAYLOAD = "attested"
"""The same for tokens that the service attests."""

STAT_PREFIX = "gate"

GUARDED = "x-wardgate-guarded"
"""The guard's mark: it has looked at the request, and lets it pass."""

FOLDED = "x-wardgate-folded"
"""Set by the guard: the path in lower case, only when it holds an upper-case letter."""

CREDENTIAL = "x-wardgate-credential"
"""Set by the guard on permissive routes: the bearer token, when it is well formed."""

BEARER = "x-wardgate-bearer"
"""Set by the guard: the bearer token of a credential whose claims it brings along."""

CLAIMS = "x-wardgate-claims"
"""The verified claims as text (`claims.py`): what RBAC matches."""

HOW = "x-wardgate-ask"
"""Set by the guard: the service is to be asked, in one of the ways of ASK_CLUSTERS."""

KIND, ASKED, LOGIN, MODE = "x-wardgate-kind", "x-wardgate-asked", "x-wardgate-login", "x-wardgate-mode"
"""The guard's question to the service: which kind of credential, its text, where one may log in, the route's mode."""

CLIENT = "x-wardgate-client"
"""Set by the guard where a session is not the policy's one: the provider whose logins have it."""

OWNERS = "x-wardgate-owners"
"""Told the service at its own endpoints on hosts where browsers log in by clients with sessions of their own: those providers."""

LOGINS = "x-wardgate-logins"
"""Set by the guard where one may log in: the cookies of logins on their way, which it has taken out of Cookie."""

ATTESTED, ACCESS, ID_TOKEN = "x-wardgate-attested", "x-wardgate-access", "x-wardgate-id-token"
"""The service's answer: an attested token, and what the upstream may be told beside it."""

TICKET = "x-wardgate-ticket"
"""Set by the guard: the attested token of a credential whose claims it brings along."""

SESSION = "x-wardgate-session"
"""The name of the session that a request belongs to: what the deny list holds."""

FORWARD = "x-wardgate-forward"
"""Set from what was verified: the Authorization that the upstream gets in a session."""

DECIDES = "x-wardgate-decides"
"""
Set by the filter of original requests: another proxy asks, and in which way: `forwarded`, `nginx` (which takes nothing but
2xx, 401 and 403 for an answer) or `path`, each after AS; `unclear` where nginx asks and it is not known about what.
"""

AS = "as-"
"""Begins each way of DECIDES that is an answer to be given: a header has it by one comparison."""

KEY_OF, USER = "x-wardgate-key-of", "x-wardgate-user"
"""Set by the guard and by an Envoy filter (`gates.py`): whose key, and whose password, a request brought."""

PLACE = "x-wardgate-place"
"""Set by the guard where it matters: in which of a route's places the token was, from 1."""

AGAIN = "x-wardgate-again"
"""Set by the guard, or by the claims filter: among which routes the request's own was chosen again (`Route.chosen_again`)."""

RENEWED = "x-wardgate-set-cookie-"
"""
With a number from 1: the cookies of an answer to another proxy, each on its own. nginx and Caddy have one value for all
headers of a name, and a session that is kept in cookies has several.
"""

ANSWER = "x-wardgate-answer"
"""Set by the guard for routes that ask for it: who calls, as a JSON document (`role_mapping.py`)."""

PUBLIC_CLUSTER = "wardgate-service"
AGENTS_CLUSTER = "wardgate-agents"
GRANT_CLUSTER = "wardgate-grants"
"""The service's endpoints for browsers and issuers."""

ASK_CLUSTERS = {how: f"wardgate-{how}" for how in ("resolve", "introspect", "renew", "key")}
"""The service's resolver, once a way of asking: each has its own bound, so that one flood cannot starve another."""

CLOSED_CLUSTER = "wardgate-closed"
"""A cluster that is never defined: what is routed to it is answered 503."""

"""
The names inside the configuration that other files, RDS and statistics refer to. They never change with policy.

The order of HTTP filters is in `listener.py`.
"""

STRIP = "wardgate.strip"
GUARD = "wardgate.guard"
CORS = "wardgate.cors"
JWT = "wardgate.jwt"
RBAC = "wardgate.rbac"
IDENTITY = "wardgate.identity"
COMPRESSOR = "wardgate.compressor"
ROUTER = "wardgate.router"

BODY_SLOTS = 4
"""
How many different body limits one configuration can have: each is a filter of its own in Envoy, and a watched file,
of which a machine has few (Linux: 128 inotify instances a user).
"""


def body_slot(index: int) -> str:
    return f"wardgate.body-{index}"


METADATA = "wardgate"
"""Our namespace of dynamic metadata: `guarded` (the subject, or -), `why` (a reason code); see `guard.lua`."""

JWT_METADATA = "envoy.filters.http.jwt_authn"
PAYLOAD = "jwt"
"""The verified claims are at `envoy.filters.http.jwt_authn` / `jwt`, whichever provider verified them."""

STAT_PREFIX = "gate"

FOLDED = "x-wardgate-folded"
"""Set by the guard: the path in lower case, only when it holds an upper-case letter."""

CREDENTIAL = "x-wardgate-credential"
"""Set by the guard on permissive routes: the bearer token, when it is well formed."""

BEARER = "x-wardgate-bearer"
"""Set by the guard: the bearer token of a credential whose claims it brings along."""

CLAIMS = "x-wardgate-claims"
"""The verified claims as text (`claims.py`): what RBAC matches."""

INTERNAL_HEADERS = (FOLDED, CREDENTIAL, BEARER, CLAIMS)
"""All of them go before the upstream; a client's own go before anything is looked at."""

INTERNAL_GENERATION = "x-wardgate-generation-"
"""A header that nobody sends: removing it makes one content of the strip filter differ from the next."""

CLOSED_CLUSTER = "wardgate-closed"
"""A cluster that is never defined: what is routed to it is answered 503."""

"""Where agents, and those who decide, reach the gateway: a listener of its own, in whatever format it is asked for."""

from __future__ import annotations

import re
from typing import Final

from wardgate import policy as model

NAME: Final = "agents"
"""What the listener is called."""

STORE: Final = re.compile("(?:postgres(?:ql)?|sqlite)://")
STORE_HINT: Final = "postgresql://USER:PASSWORD@HOST/DATABASE; leave it out for a file in the state directory"
"""Where requests are kept: the address of a database."""

NOBODY: Final = model.Credentials(mode=model.Mode.IGNORED)


def listener(
    address: model.Address, tls: model.ServerTls | None, provider: str, *, console: bool
) -> model.Listener:
    """`console`: people decide in a browser there, too; the policy needs a `session` for that."""
    bearer = model.Credentials(kinds=frozenset({model.Kind.BEARER}), providers=(provider,))
    known, open_to_all = model.Rule(when=model.Authenticated()), model.Public()
    prefix, exact = model.PathKind.PREFIX, model.PathKind.EXACT
    routes = [_route(path, prefix, known, bearer, model.AGENTS) for path in model.AGENTS_GUARDED]
    routes += [_route(path, exact, open_to_all, NOBODY, model.AGENTS) for path in model.AGENTS_OPEN]
    if console:
        routes.append(_route(model.CONSOLE_PATH, prefix, open_to_all, NOBODY, model.CONSOLE))
    host = model.Host(routes=tuple(routes), fallback=bearer, not_found=True)
    return model.Listener(name=NAME, address=address, hosts=(host,), tls=tls, errors=model.Errors.AIP)


def _route(
    path: str, kind: model.PathKind, access: model.Access, credentials: model.Credentials, upstream: str
) -> model.Route:
    return model.Route(
        name=path,
        path=model.Path(kind=kind, text=path),
        access=access,
        credentials=credentials,
        upstream=upstream,
        body_limit=model.AGENTS_BODY_BYTES,
        websockets=False,
    )

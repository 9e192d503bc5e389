"""
The page that a person reads who may not do something: drawn by the service's templates, served by Envoy itself.

A template of one's own (`session.pages`, `forbidden`) is read when the configuration is; one that cannot be used gives way
to ours, which is said.
"""

from __future__ import annotations

from wardgate.envoy.replies import REQUEST_ID_MARK, Page
from wardgate.policy import Policy


def forbidden_page(policy: Policy) -> Page | None:
    """None where nobody logs in: then a plain page says it."""
    if policy.session is None or not policy.login_providers():
        return None
    from wardgate.service.pages import Pages  # its templates need Jinja, which nobody else here does

    logout = f"{policy.endpoints.prefix}/logout"
    drawn = Pages(policy.session).html("forbidden", 403, request_id=REQUEST_ID_MARK, logout_url=logout)
    return Page(html=bytes(drawn.body).decode(), security_policy=drawn.headers["content-security-policy"])

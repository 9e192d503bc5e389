"""What a request carries: its form, its query, its client's credentials, its cookies."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qsl, unquote_plus

from starlette.exceptions import HTTPException
from starlette.requests import Request

from wardgate.idp.client_authentication import Credentials
from wardgate.idp.refusals import BAD_CLIENT, OAuthRefusal

MAX_FORM_BYTES = 128 * 1024


class Fields(dict[str, str]):
    """Form fields or query parameters; the first value of one that is repeated."""

    repeated = False


async def form(request: Request) -> Fields:
    """The fields of an urlencoded body; none when the body is of another kind. Raises OAuthRefusal."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return Fields()
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413)
    return _fields(body)


def query(request: Request) -> Fields:
    """The parameters in a request's address. Raises OAuthRefusal."""
    return _fields(request.scope["query_string"])


def _fields(text: bytes) -> Fields:
    found = Fields()
    try:
        pairs = parse_qsl(text.decode("utf-8"), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise OAuthRefusal(400, "invalid_request", "The form cannot be read") from error
    for name, value in pairs:
        found.repeated = found.repeated or name in found
        found.setdefault(name, value)
    return found


def credentials(request: Request, fields: Fields) -> Credentials:
    """How the client authenticates: a signed JWT, Basic (RFC 6749 2.3.1) or fields; Basic wins, as in Keycloak."""
    basic = request.headers.get("authorization", "")
    if basic and "client_assertion" not in fields:
        client_id, secret = _basic(basic)
        if fields.get("client_id", client_id) != client_id:
            raise OAuthRefusal(401, "unauthorized_client", BAD_CLIENT)
        return Credentials(client_id=client_id, secret=secret)
    return Credentials(
        client_id=fields.get("client_id", ""),
        secret=fields.get("client_secret"),
        assertion=fields.get("client_assertion"),
        assertion_type=fields.get("client_assertion_type", ""),
    )


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError) as error:
        raise OAuthRefusal(401, "invalid_client", BAD_CLIENT) from error
    if not colon:
        raise OAuthRefusal(401, "invalid_client", BAD_CLIENT)
    return unquote_plus(client_id), unquote_plus(secret)

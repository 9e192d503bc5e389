"""What an issuer says about the person of an access token (OpenID Connect Core 1.0, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardgate.policy import Provider
from wardgate.problems import TokenError
from wardgate.service.issuer_http import Answer, IssuerHttp, printable
from wardgate.service.oidc.access_token import expectation
from wardgate.service.oidc.keys import Keys
from wardgate.service.oidc.metadata import Metadata
from wardgate.service.oidc.refusals import GrantEnded, IssuerAway, LoginRefused
from wardgate.service.oidc.requests import json_object
from wardgate.verify import KeySet
from wardgate.verify.claims import audiences_of
from wardgate.verify.compact import json_object as json_of_token
from wardgate.verify.tokens import signed_payload


class Userinfo:
    """One provider's endpoint, as its client `client_id`."""

    def __init__(
        self, provider: Provider, client_id: str, *, http: IssuerHttp, metadata: Metadata, keys: Keys
    ) -> None:
        self._provider = provider
        self._client_id = client_id
        self._http = http
        self._metadata = metadata
        self._keys = keys

    async def of_token(self, access_token: str) -> Mapping[str, Any] | None:
        """None when the issuer has no such endpoint. Raises GrantEnded when it does not take the token, IssuerAway."""
        address = (await self._metadata.get()).userinfo_endpoint
        if not address:
            return None
        answer = await self._http.send("GET", address, headers={"authorization": f"Bearer {access_token}"})
        if answer.status == 401:
            raise GrantEnded("grant-ended", f"{printable(address)} does not take the access token any more")
        if answer.status != 200:
            raise IssuerAway("issuer-status", f"{printable(address)} answers {answer.status}")
        if answer.content_type == "application/jwt":
            return await self._signed(answer)
        return json_object(answer)

    async def of_person(self, access_token: str, subject: str) -> dict[str, Any] | None:
        """As `of_token`, and about this person. Raises LoginRefused, IssuerAway."""
        try:
            found = await self.of_token(access_token)
        except GrantEnded as error:
            raise LoginRefused("login-userinfo", error.message) from error
        if found is None:
            return None
        if found.get("sub") != subject:
            # 5.3.2: or a token of somebody else was slipped in
            raise LoginRefused("login-userinfo", "userinfo is about another person than the ID token")
        return dict(found)

    async def _signed(self, answer: Answer) -> Mapping[str, Any]:
        """A JWT of the issuer for us (5.3.2); it has no times."""
        expect = expectation(self._provider, audiences=(self._client_id,), kind="userinfo")
        where = printable(answer.address)

        def judge(keys: KeySet) -> Mapping[str, Any]:
            return json_of_token(signed_payload(text, keys=keys, expect=expect).payload, "payload")

        try:
            text = answer.body.decode("ascii").strip()
            claims = await self._keys.judged(judge)
            audiences = audiences_of(claims)
        except (TokenError, UnicodeDecodeError) as error:
            raise IssuerAway(
                "issuer-answer", f"{where} answers with a token that is refused: {error}"
            ) from error
        if claims.get("iss") != self._provider.issuer or self._client_id not in audiences:
            raise IssuerAway("issuer-answer", f"{where} answers with a token of another issuer or client")
        return claims

"""`wardgate token`: fetched from a real provider, decoded and diagnosed, verified with published keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.realm import GATEWAY_CLIENT, OTHER_CLIENT, S0_REALM, Realm
from tests.verify.issuer import EPOCH, NOW, claims, sign, token
from wardgate.idp import IdpServer
from wardgate.problems import ConfigError, TokenError, Unavailable
from wardgate.token import (
    CODES,
    HINTS,
    decode,
    decoded_json,
    decoded_text,
    get,
    refusal_text,
    token_text,
    verified_text,
    verify_with_issuer,
)
from wardgate.verify import (
    Expectation,
    TokenAudienceWrong,
    TokenExpired,
    TokenMalformed,
    TokenSignatureWrong,
    TokenTypeRefused,
)
from wardgate.verify.errors import CODES as TOKEN_CODES

SECRET = "s0-secret"


@pytest.fixture(scope="module")
def idp() -> Iterator[IdpServer]:
    """The built-in provider with S0's realm."""
    with IdpServer(S0_REALM) as server:
        yield server


def now() -> datetime:
    return datetime.now(UTC)


def expectation(idp: IdpServer) -> Expectation:
    return Expectation(issuer=idp.issuer, audiences=(GATEWAY_CLIENT,))


def refused(idp: IdpServer, **what: Any) -> str:
    """How `get` says that the issuer refused."""
    with pytest.raises(ConfigError) as caught:
        get(idp.issuer, **({"client_id": GATEWAY_CLIENT, "client_secret": SECRET} | what))
    return str(caught.value)


class TestGet:
    """`wardgate token get`."""

    def test_a_clients_own_token(self, idp: IdpServer) -> None:
        """With a secret and no user, the client's own token comes."""
        answer = get(idp.issuer, client_id=GATEWAY_CLIENT, client_secret=SECRET)
        assert decode(answer.access_token, now=now()).claims["client_id"] == GATEWAY_CLIENT
        assert answer.answer["token_type"] == "Bearer"

    def test_a_users_token(self, idp: IdpServer) -> None:
        """With a user and a password, the user's tokens come; scope decides about the ID token."""
        who = {"client_id": GATEWAY_CLIENT, "client_secret": SECRET, "username": "user"}
        answer = get(idp.issuer, **who, password="user-password")
        assert decode(answer.access_token, now=now()).claims["preferred_username"] == "user"
        assert "id_token" in answer.answer
        assert "id_token" not in get(idp.issuer, **who, password="user-password", scope="").answer

    def test_a_public_client(self) -> None:
        """A client without a secret names itself in the form."""
        realm = S0_REALM.with_name("mappers.json")
        with IdpServer(realm) as idp:
            answer = get(idp.issuer, client_id="narrow", username="alice", password="alice-password")
        assert decode(answer.access_token, now=now()).claims["azp"] == "narrow"

    def test_the_discovery_address_will_do(self, idp: IdpServer) -> None:
        """The issuer may be given by the address of its discovery document."""
        address = f"{idp.issuer}/.well-known/openid-configuration"
        assert get(address, client_id=GATEWAY_CLIENT, client_secret=SECRET).access_token

    def test_refusals_say_what_the_issuer_said(self, idp: IdpServer) -> None:
        """A refusal has the issuer's words and a hint, and never the password or the secret."""
        wrong = refused(idp, username="user", password="open-sesame")
        assert "Invalid user credentials" in wrong
        assert "'invalid_grant' [token-request-refused]" in wrong
        assert "hint: check the user name" in wrong
        assert "open-sesame" not in wrong
        assert "check the secret" in refused(idp, client_secret="hunter2")
        assert "hunter2" not in refused(idp, client_secret="hunter2")
        assert "invalid_client" in refused(idp, client_id="nobody")
        assert "no such scope" in refused(idp, scope="nonsense")
        assert "service accounts" in refused(
            idp, client_id="short-lived-client", client_secret="short-lived-secret"
        )

    def test_incomplete_requests_are_not_sent(self, idp: IdpServer) -> None:
        """Without a secret and a user, or with a user and no password, nothing is asked."""
        assert "token-request-incomplete" in refused(idp, client_secret=None)
        assert "the password is missing" in refused(idp, username="user")

    def test_an_issuer_that_is_away(self, idp: IdpServer) -> None:
        """An address that does not answer, or answers something else, is Unavailable with its name."""
        gone = IdpServer(S0_REALM)
        with gone:
            issuer = gone.issuer
        for address in (issuer, f"{idp.base_url}/realms/other", "http://.."):
            with pytest.raises(Unavailable):
                get(address, client_id=GATEWAY_CLIENT, client_secret=SECRET)

    @pytest.mark.parametrize("address", ["", "nonsense", "http://", "file:///etc/passwd"])
    def test_what_is_no_address(self, address: str) -> None:
        """An issuer that is no http(s) address is the person's mistake."""
        with pytest.raises(ConfigError, match="issuer-address"):
            get(address, client_id=GATEWAY_CLIENT, client_secret=SECRET)

    def test_another_issuers_document_is_refused(self, idp: IdpServer) -> None:
        """A document whose issuer is another one gets no secret."""
        other_name = idp.issuer.replace("127.0.0.1", "localhost")
        with pytest.raises(Unavailable, match="its issuer is"):
            get(other_name, client_id=GATEWAY_CLIENT, client_secret=SECRET)

    def test_the_answer_does_not_print(self, idp: IdpServer) -> None:
        """The token is a secret: it is not in the text of the object."""
        answer = get(idp.issuer, client_id=GATEWAY_CLIENT, client_secret=SECRET)
        assert answer.access_token not in repr(answer)

    def test_a_missing_certificate_file(self, idp: IdpServer) -> None:
        """A CA file that is not there is a problem with its name."""
        with pytest.raises(ConfigError, match=r"no-such\.pem"):
            get(idp.issuer, client_id="c", client_secret="s", ca=S0_REALM.with_name("no-such.pem"))


def findings(**changes: Any) -> list[str]:
    return [one.code for one in decode(token(**changes), now=NOW).findings]


class TestDecode:
    """`wardgate token decode`."""

    def test_a_good_token(self) -> None:
        """Header, claims, times in words; nothing to complain about but that nothing was proven."""
        decoded = decode(token(name="Zoë\u202e"), now=NOW)
        text = decoded_text(decoded)
        assert decoded.findings == ()
        assert '"alg": "RS256"' in text
        assert "iat       2026-03-01 12:00:00 UTC, now" in text
        assert "exp       2026-03-01 12:05:00 UTC, in 0:05:00" in text
        assert "audience: 'orders'" in text
        assert "nothing wrong was found" in text
        assert "signature was not checked" in text
        assert text.isascii()

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"exp": EPOCH - 60}, ["token-expired"]),
            ({"exp": ...}, ["token-no-expiry"]),
            ({"exp": (EPOCH + 60) * 1000}, ["token-lifetime"]),
            ({"exp": "soon"}, ["token-malformed"]),
            ({"nbf": EPOCH + 60}, ["token-not-yet-valid"]),
            ({"typ": "ID"}, ["token-type"]),
            ({"cnf": {}}, ["token-bound"]),
            ({"iss": ...}, ["token-issuer"]),
            ({"header": {"alg": "none"}}, ["token-algorithm"]),
            ({"header": {"alg": "HS512"}, "typ": "Refresh"}, ["token-algorithm", "token-type"]),
            ({"header": {"crit": ["x"], "typ": "JWE"}}, ["token-critical", "token-type"]),
            (
                {"header": {"jwk": {}}, "exp": 1, "aud": 5},
                ["token-brings-key", "token-malformed", "token-expired"],
            ),
        ],
        ids=str,
    )
    def test_everything_wrong_is_said_at_once(self, changes: dict[str, Any], expected: list[str]) -> None:
        """All that the gateway would refuse a token for is listed, in the order of checking."""
        assert findings(**changes) == expected

    def test_compared_with_an_expectation(self) -> None:
        """With an issuer and an audience to compare with, these are judged too, with a hint."""
        expect = Expectation(issuer="https://id.example/other", audiences=("billing",))
        decoded = decode(token(), now=NOW, expect=expect)
        text = decoded_text(decoded)
        assert [one.code for one in decoded.findings] == ["token-issuer", "token-audience"]
        assert "the audience is 'orders', expected 'billing' [token-audience]" in text
        assert "hint: in Keycloak, give the client an audience mapper" in text

    def test_times_that_are_none(self) -> None:
        """A time that is not a number is shown and said, not a crash."""
        text = decoded_text(decode(token(exp="soon", iat=...), now=NOW))
        assert "exp       'soon' is not a time" in text
        assert "exp must be a number of seconds" in text
        assert "times:\n  none" in decoded_text(decode(token(exp=..., iat=...), now=NOW))

    def test_no_signature_is_printed(self) -> None:
        """Neither words nor JSON hold the token or its signature."""
        text = token(exp=EPOCH - 60)
        decoded = decode(text, now=NOW)
        for part in text.split("."):
            assert part not in decoded_text(decoded) + decoded_json(decoded) + repr(decoded)

    def test_json(self) -> None:
        """For programs: header, claims, findings, and that nothing was verified."""
        body = json.loads(decoded_json(decode(token(exp=EPOCH - 60), now=NOW)))
        assert body["verified"] is False
        assert body["claims"]["sub"] == "u-1"
        assert [one["code"] for one in body["findings"]] == ["token-expired"]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "not three base64url parts"),
            ("opaque-reference", "opaque token"),
            ("a.b.c.d.e", "encrypted token"),
            ("a.b", "not three base64url parts"),
            ("eyJ.eyJ.x", "the header is"),
        ],
    )
    def test_what_is_no_token(self, text: str, expected: str) -> None:
        """Text that is no JWT is refused with what it looks like."""
        with pytest.raises(TokenMalformed, match=expected):
            decode(text, now=NOW)

    @pytest.mark.parametrize("around", ["{}", "  {}\n", "Bearer {}", "bearer  {} "])
    def test_as_people_paste_it(self, around: str) -> None:
        """Space around a token and the scheme before it are taken off."""
        assert token_text(around.format("a.b.c")) == "a.b.c"

    def test_every_refusal_has_advice_or_needs_none(self) -> None:
        """Hints are for codes that exist, and the commands' own codes are explained."""
        assert set(HINTS) <= set(TOKEN_CODES)
        assert all(CODES.values())


class TestVerify:
    """`wardgate token verify`: from the provider's HTTP answers to believed claims."""

    @pytest.mark.parametrize("grant", ["password", "client_credentials", "refresh_token"])
    def test_tokens_of_every_grant(self, idp: IdpServer, grant: str) -> None:
        """A token of each grant, fetched by HTTP, is verified with the keys fetched by HTTP."""
        with Realm(idp.base_url) as realm:
            tokens = realm.token("" if grant == "client_credentials" else "user")
            tokens = realm.refreshed(tokens) if grant == "refresh_token" else tokens
        found = verify_with_issuer(tokens.access, expect=expectation(idp), now=now())
        assert found.claims.audiences == (GATEWAY_CLIENT, "account")
        assert found.keys_from == f"{idp.issuer}/protocol/openid-connect/certs"
        text = verified_text(found)
        assert text.startswith(f"valid: signed by {idp.issuer}\n")
        assert tokens.access.rpartition(".")[2] not in text

    def test_refused_tokens(self, idp: IdpServer) -> None:
        """Each bad token of the provider is refused with its own error."""
        with Realm(idp.base_url) as realm:
            tokens, other = realm.token("user"), realm.token("user", client=OTHER_CLIENT)
        good = idp.claims("user")
        bad: list[tuple[str, type[TokenError]]] = [
            (tokens.id, TokenTypeRefused),
            (other.access, TokenAudienceWrong),
            (idp.mint(good | {"exp": 1}), TokenExpired),
            (sign(claims(), {"alg": "RS256", "kid": idp.provider.keys.kid}), TokenSignatureWrong),
            ("nonsense", TokenMalformed),
        ]
        for text, error in bad:
            with pytest.raises(error):
                verify_with_issuer(text, expect=expectation(idp), now=now())

    def test_a_refusal_in_words(self, idp: IdpServer) -> None:
        """A refusal says why, by which code, and what to do."""
        with pytest.raises(TokenError) as caught:
            verify_with_issuer(idp.tokens("user")["id_token"], expect=expectation(idp), now=now())
        assert refusal_text(caught.value) == (
            "refused:\n"
            "  it is not an access token: its payload says typ 'ID' [token-type]\n"
            "    hint: send the access_token of the issuer's answer, not its id_token or refresh_token\n"
        )

    def test_keys_from_a_named_address(self, idp: IdpServer) -> None:
        """The key set may be named, for an issuer that is reached by another name."""
        address = f"{idp.issuer}/protocol/openid-connect/certs"
        text = idp.token("user")
        found = verify_with_issuer(text, expect=expectation(idp), now=now(), jwks_url=address)
        assert found.keys_from == address

    def test_an_issuer_that_is_away(self) -> None:
        """Without keys there is no verdict: that is Unavailable, not a bad token."""
        with IdpServer(S0_REALM) as idp:
            text, expect = idp.token("user"), expectation(idp)
        with pytest.raises(Unavailable):
            verify_with_issuer(text, expect=expect, now=now())

    def test_a_rotated_key(self) -> None:
        """After a rotation both tokens are good; once the old key is retired, its tokens are not."""
        with IdpServer(S0_REALM) as idp:
            old = idp.token("user")
            httpx.post(f"{idp.issuer}/-/rotate").raise_for_status()
            for text in (old, idp.token("user")):
                verify_with_issuer(text, expect=expectation(idp), now=now() + timedelta(seconds=1))
            httpx.post(f"{idp.issuer}/-/retire").raise_for_status()
            with pytest.raises(TokenError) as caught:
                verify_with_issuer(old, expect=expectation(idp), now=now())
        assert caught.value.code == "token-key-unknown"

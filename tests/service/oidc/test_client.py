"""The client against an issuer of one's own: logins and renewals, right ones and every wrong one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from tests.service.oidc.conftest import client_of
from tests.service.oidc.issuer import CLIENT, REDIRECT, SECRET, Answer, Login, OidcIssuer, Seen, ok, refused
from wardgate.keystore import KeyStore
from wardgate.policy import ClientAuthentication, Provider, Secret, Session
from wardgate.service.issuer_http import CODES as HTTP_CODES
from wardgate.service.oidc import CODES, GrantEnded, IssuerAway, LoginRefused, OidcClient
from wardgate.service.session import Tokens
from wardgate.verify.compact import encode_base64url

T = TypeVar("T")

VERIFIER = "v" * 43
S256 = "pMeaH35fVwxVeTZ0NjVJvd6cGiCUvVZMYzAkqY_6W9Y"


def run(
    provider: Provider,
    store: KeyStore,
    do: Callable[[OidcClient], Awaitable[T]],
    session: Session | None = None,
    **fields: Any,
) -> T:
    async def scenario() -> T:
        async with client_of(provider, store, session, **fields) as client:
            return await do(client)

    return asyncio.run(scenario())


async def log_in(client: OidcClient, issuer: OidcIssuer, nonce: str = "n-1") -> Tokens:
    code = issuer.code(nonce=nonce, challenge=challenge())
    return await client.exchange(code, redirect_uri=REDIRECT, verifier=VERIFIER, nonce=nonce)


def challenge() -> str:
    import hashlib

    return encode_base64url(hashlib.sha256(VERIFIER.encode()).digest())


def login(issuer: OidcIssuer, store: KeyStore, session: Session | None = None, **fields: Any) -> Tokens:
    provider = issuer.provider(**fields.pop("provider", {}))
    return run(provider, store, lambda client: log_in(client, issuer), session, **fields)


def login_refused(
    issuer: OidcIssuer, store: KeyStore, session: Session | None = None, **fields: Any
) -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        login(issuer, store, session, **fields)
    assert caught.value.code in CODES
    return caught.value


def away(issuer: OidcIssuer, store: KeyStore, **fields: Any) -> IssuerAway:
    with pytest.raises(IssuerAway) as caught:
        login(issuer, store, **fields)
    assert caught.value.code in {*CODES, *HTTP_CODES}
    return caught.value


# -- Logins


def test_a_login_ends_with_judged_tokens(issuer: OidcIssuer, store: KeyStore) -> None:
    """The claims are the access token's, the person is the ID token's, the end is the earlier of the two that are said."""
    issuer.answer_changes = {"expires_in": 900}
    began = time.time()
    tokens = login(issuer, store)
    assert tokens.claims["realm_access"] == {"roles": ["user"]}
    assert tokens.id_claims["nonce"] == "n-1"
    assert tokens.id_claims["sid"] == "s-1"
    assert tokens.refresh_token in issuer.refresh
    assert tokens.access_expires is not None
    assert began + 298 <= tokens.access_expires <= began + 302
    assert tokens.userinfo is None


def test_what_is_sent_with_a_code(issuer: OidcIssuer, store: KeyStore) -> None:
    """Code, redirect URI and verifier go in the form; the client's id and secret in Basic, form-encoded first."""
    login(issuer, store)
    [seen] = issuer.asked("token")
    assert set(seen.form) == {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert seen.headers["authorization"].startswith("Basic ")
    assert seen.headers["accept-encoding"] == "identity"


def test_a_secret_by_post(issuer: OidcIssuer, store: KeyStore) -> None:
    """With `post` the secret is in the form and nowhere else."""
    login(issuer, store, provider={"client_authentication": ClientAuthentication.POST})
    [seen] = issuer.asked("token")
    assert (seen.form["client_id"], seen.form["client_secret"]) == (CLIENT, SECRET)
    assert "authorization" not in seen.headers


def test_a_client_without_a_secret(issuer: OidcIssuer, store: KeyStore) -> None:
    """A public client names itself and proves its login by PKCE alone."""
    issuer.secret = None
    login(issuer, store, provider={"client_secret": None})
    [seen] = issuer.asked("token")
    assert seen.form["client_id"] == CLIENT
    assert "client_secret" not in seen.form
    assert "authorization" not in seen.headers


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_private_key_jwt(issuer: OidcIssuer, store: KeyStore, tmp_path: Path, kind: str) -> None:
    """A statement signed by our key is verified by the issuer: algorithm by the key, audience, times, a jti of one use."""
    file, public = client_key(tmp_path, kind)
    issuer.client_keys, issuer.secret = [public], None
    fields = {"client_authentication": ClientAuthentication.PRIVATE_KEY_JWT, "client_key": str(file)}

    async def twice(client: OidcClient) -> None:
        tokens = await log_in(client, issuer)
        await client.refresh(tokens)

    run(issuer.provider(**fields, client_secret=None), store, twice)
    assert len(issuer.jtis) == 2


def test_a_client_key_that_is_replaced_is_read_again(
    issuer: OidcIssuer, store: KeyStore, tmp_path: Path
) -> None:
    """The key file is looked at for each statement; one that is gone is a problem of ours, not an end."""
    file, first = client_key(tmp_path, "ec")
    issuer.client_keys = [first]
    fields = {"client_authentication": ClientAuthentication.PRIVATE_KEY_JWT, "client_key": str(file)}

    async def scenario(client: OidcClient) -> None:
        tokens = await log_in(client, issuer)
        issuer.client_keys = [client_key(tmp_path, "rsa")[1]]
        tokens = await client.refresh(tokens)
        file.unlink()
        with pytest.raises(IssuerAway) as caught:
            await client.refresh(tokens)
        assert caught.value.code == "client-key-file"

    run(issuer.provider(**fields), store, scenario)


def client_key(folder: Path, kind: str) -> tuple[Path, Key]:
    """A private key in a PEM file, and its public half as the issuer knows it."""
    made: Any
    match kind:
        case "rsa":
            made, form = rsa.generate_private_key(65537, 2048), RSAKey
        case "ec":
            made, form = ec.generate_private_key(ec.SECP256R1()), ECKey
        case _:
            made, form = ed25519.Ed25519PrivateKey.generate(), OKPKey
    file = folder / "client.pem"
    new = folder / "new.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    new.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    new.replace(file)
    public = made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return file, form.import_key(public)


WRONG_ID_TOKENS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "of another client": ({"aud": "other"}, {}, "token-audience"),
    "of several, not ours": ({"aud": [CLIENT, "other"], "azp": "other"}, {}, "token-audience"),
    "of several, nobody's": ({"aud": [CLIENT, "other"]}, {}, "token-audience"),
    "of another issuer": ({"iss": "https://evil.example"}, {}, "token-issuer"),
    "expired": ({"exp": 1_700_000_000, "iat": 1_699_999_000}, {}, "token-expired"),
    "from the future": ({"iat": 4_000_000_000}, {}, "token-not-yet-valid"),
    "without a time": ({"iat": ...}, {}, "token-malformed"),
    "without a person": ({"sub": ...}, {}, "token-malformed"),
    "of another login": ({"nonce": "n-2"}, {}, "token-nonce"),
    "without a nonce": ({"nonce": ...}, {}, "token-nonce"),
    "for another access token": ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, {}, "token-at-hash"),
    "that is an access token": ({"typ": "Bearer"}, {}, "token-type"),
    "that is a logout token": ({"typ": "Logout"}, {}, "token-type"),
    "with events": ({"events": {}}, {}, "token-type"),
    "not signed": ({}, {"alg": "none"}, "token-malformed"),
    "at+jwt": ({}, {"typ": "at+jwt"}, "token-type"),
}


@pytest.mark.parametrize("case", WRONG_ID_TOKENS)
def test_an_id_token_that_is_wrong_refuses_the_login(issuer: OidcIssuer, store: KeyStore, case: str) -> None:
    """Each ID token that OpenID Connect 3.1.3.7 refuses ends in a refused login that says why."""
    issuer.id_changes, issuer.id_header, why = WRONG_ID_TOKENS[case]
    error = login_refused(issuer, store)
    assert error.code == "login-id-token"
    assert f"({why})" in error.message


def test_an_id_token_signed_by_the_secret_is_refused(issuer: OidcIssuer, store: KeyStore) -> None:
    """HS256 with our own secret is no signature of the issuer."""
    from joserfc.jwk import OctKey

    def forged(seen: Seen) -> Answer:
        tokens = issuer.tokens(Login(nonce="n-1"))
        claims = issuer.id_claims(Login(nonce="n-1"), tokens["access_token"])
        key = OctKey.import_key(SECRET.ljust(32).encode())
        return ok(tokens | {"id_token": issuer.mint(claims, {"alg": "HS256"}, key)})

    issuer.answers["token"] = forged
    assert "(token-algorithm)" in login_refused(issuer, store).message


def test_several_audiences_are_fine_when_it_is_ours(issuer: OidcIssuer, store: KeyStore) -> None:
    """A token for us and others that names us as its owner is taken."""
    issuer.id_changes = {"aud": [CLIENT, "other"], "azp": CLIENT}
    assert login(issuer, store).id_claims["azp"] == CLIENT


def test_an_old_login_is_refused_where_max_age_is_asked_for(issuer: OidcIssuer, store: KeyStore) -> None:
    """With `max_age` the ID token must say when the login was, and that it was not long ago."""
    fields = {"max_age": timedelta(minutes=5)}
    assert login(issuer, store, provider=fields)
    issuer.id_changes = {"auth_time": int(time.time()) - 900}
    assert "(token-too-old)" in login_refused(issuer, store, provider=fields).message
    issuer.id_changes = {"auth_time": ...}
    assert "(token-too-old)" in login_refused(issuer, store, provider=fields).message


@pytest.mark.parametrize(
    "email", ["a@evil@corp.example", "nobody", "@corp.example", "a@", "a b@c.example", 5]
)
def test_an_address_with_other_than_one_at_is_refused(
    issuer: OidcIssuer, store: KeyStore, email: object
) -> None:
    """An e-mail address that two readers could read differently is nobody's."""
    issuer.id_changes = {"email": email}
    assert login_refused(issuer, store).code == "login-email"


def test_an_address_in_the_access_token_or_userinfo_is_judged_too(
    issuer: OidcIssuer, store: KeyStore
) -> None:
    """It does not matter which token brings the address."""
    issuer.access_changes = {"email": "a@evil@corp.example"}
    assert login_refused(issuer, store).code == "login-email"
    issuer.access_changes, issuer.info = {}, {"sub": "u-1", "email": "a@evil@corp.example"}
    assert login_refused(issuer, store, userinfo=True).code == "login-email"


@pytest.mark.parametrize("verified", [False, ..., None, "no"])
def test_an_unverified_address_is_refused_where_it_is_asked_for(
    issuer: OidcIssuer, store: KeyStore, verified: object
) -> None:
    """With `verified_email` the issuer must say that it verified; without, nobody asks."""
    issuer.id_changes = {"email_verified": verified}
    assert login_refused(issuer, store, Session(verified_email=True)).code == "login-email-unverified"
    assert login(issuer, store)


def test_a_token_that_is_not_for_bearers_is_refused(issuer: OidcIssuer, store: KeyStore) -> None:
    """MAC tokens, and answers that do not say, are not taken for bearer tokens."""
    issuer.answer_changes = {"token_type": "MAC"}
    assert login_refused(issuer, store).code == "login-token-type"
    issuer.answer_changes = {"token_type": ...}
    assert login_refused(issuer, store).code == "login-token-type"
    issuer.answer_changes = {"token_type": "bearer"}
    assert login(issuer, store)


def test_no_id_token_is_no_login(issuer: OidcIssuer, store: KeyStore) -> None:
    """An issuer that speaks OAuth only does not say who logged in."""
    issuer.answer_changes = {"id_token": ...}
    assert login_refused(issuer, store).code == "login-id-token-missing"


def test_a_code_works_once_and_with_its_verifier(issuer: OidcIssuer, store: KeyStore) -> None:
    """A used code, another verifier and another redirect URI are refused by the issuer, and so is the login."""

    async def scenario(client: OidcClient) -> None:
        code = issuer.code(nonce="n", challenge=challenge())
        await client.exchange(code, redirect_uri=REDIRECT, verifier=VERIFIER, nonce="n")
        for change in ({}, {"verifier": "w" * 43}, {"redirect_uri": REDIRECT + "/"}):
            if change:
                code = issuer.code(nonce="n", challenge=challenge())
            given: dict[str, Any] = {"redirect_uri": REDIRECT, "verifier": VERIFIER, "nonce": "n", **change}
            with pytest.raises(LoginRefused) as caught:
                await client.exchange(code, **given)
            assert caught.value.code == "login-code"
            assert code not in caught.value.message

    run(issuer.provider(), store, scenario)


# -- Userinfo


def test_an_opaque_access_token_is_judged_by_id_token_and_userinfo(
    issuer: OidcIssuer, store: KeyStore
) -> None:
    """Userinfo adds what it says about the person, and cannot say who issued the token or for whom."""
    issuer.opaque = True
    issuer.info |= {"iss": "https://evil.example", "aud": "shop", "groups": ["a"]}
    tokens = login(issuer, store)
    assert tokens.claims["team"] == "red"
    assert tokens.claims["groups"] == ["a"]
    assert tokens.claims["iss"] == issuer.url
    assert tokens.claims["aud"] == CLIENT
    assert tokens.userinfo is not None
    assert tokens.userinfo["team"] == "red"


def test_a_token_of_which_nobody_says_how_long_it_lasts(issuer: OidcIssuer, store: KeyStore) -> None:
    """It lasts as long as the session's terms say, if they do."""
    issuer.opaque = True
    issuer.answer_changes = {"expires_in": ...}
    assert login(issuer, store).access_expires is None
    began = time.time()
    expires = login(issuer, store, Session(token_lifetime=timedelta(minutes=7))).access_expires
    assert expires is not None
    assert began + 418 <= expires <= time.time() + 422


def test_an_access_token_for_another_audience_is_opaque(
    issuer: OidcIssuer, store: KeyStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """A JWT that we would refuse as a bearer's gives no claims; it is said why."""
    issuer.access_changes = {"aud": "somebody-else"}
    tokens = login(issuer, store)
    assert "realm_access" not in tokens.claims
    assert tokens.claims["team"] == "red"
    assert "token-audience" in capsys.readouterr().err


def test_userinfo_of_somebody_else_refuses_the_login(issuer: OidcIssuer, store: KeyStore) -> None:
    """The subject of userinfo is the ID token's, or the access token is another person's."""
    issuer.opaque, issuer.info = True, {"sub": "u-2"}
    assert login_refused(issuer, store).code == "login-userinfo"
    issuer.info = {"email": "a@shop.example"}
    assert login_refused(issuer, store).code == "login-userinfo"


def test_userinfo_is_fetched_when_some_route_reads_it(issuer: OidcIssuer, store: KeyStore) -> None:
    """Beside a JWT, userinfo is kept apart: rules go by the token."""
    tokens = login(issuer, store, userinfo=True)
    assert tokens.userinfo is not None
    assert tokens.userinfo["team"] == "red"
    assert "team" not in tokens.claims


def test_signed_userinfo_is_verified(issuer: OidcIssuer, store: KeyStore) -> None:
    """Userinfo as a JWT is taken when the issuer signed it for us, and from nobody else."""
    issuer.opaque = True
    body = {"sub": "u-1", "iss": issuer.url, "aud": CLIENT, "team": "blue"}

    def answer(**changes: Any) -> None:
        text = issuer.mint(body | changes)
        issuer.answers["userinfo"] = lambda _: (200, {"content-type": "application/jwt"}, text.encode())

    answer()
    assert login(issuer, store).claims["team"] == "blue"
    answer(aud="other")
    assert away(issuer, store).code == "issuer-answer"


def test_userinfo_of_a_token_that_is_over(issuer: OidcIssuer, store: KeyStore) -> None:
    """401 from userinfo is the end of the token; 500 is nothing."""

    async def scenario(client: OidcClient) -> None:
        assert (await client.userinfo("t"))["team"] == "red"
        issuer.answers["userinfo"] = lambda _: (401, {}, b"")
        with pytest.raises(GrantEnded):
            await client.userinfo("t")
        issuer.answers["userinfo"] = lambda _: (500, {}, b"")
        with pytest.raises(IssuerAway):
            await client.userinfo("t")

    run(issuer.provider(), store, scenario)


# -- An issuer in trouble


def test_a_redirect_is_never_followed_with_a_code(issuer: OidcIssuer, store: KeyStore) -> None:
    """A token endpoint that redirects gets no second request sent anywhere, whatever the status."""
    with OidcIssuer() as canary:
        for status in (301, 302, 303, 307, 308):
            issuer.answers["token"] = lambda _, s=status: (s, {"location": canary.url + "/token"}, b"")
            assert away(issuer, store).code == "issuer-redirect"
        assert canary.seen == []
        issuer.answers["token"] = lambda _: (302, {"location": "/realms/r/userinfo"}, b"")
        assert away(issuer, store).code == "issuer-redirect"
        assert issuer.asked("userinfo") == []


BAD_ANSWERS: dict[str, tuple[Answer, str]] = {
    "500": ((500, {}, b""), "issuer-status"),
    "503 with an error": (refused(503, "invalid_grant"), "issuer-status"),
    "429": ((429, {"retry-after": "5"}, b""), "issuer-status"),
    "404": ((404, {}, b"<html>"), "issuer-status"),
    "html": ((200, {"content-type": "text/html"}, b"<html>"), "issuer-answer"),
    "a list": (ok([]), "issuer-answer"),
    "a key twice": ((200, {}, b'{"access_token": "a", "access_token": "b"}'), "issuer-answer"),
    "no access token": (ok({"token_type": "Bearer"}), "issuer-answer"),
    "a token with a line break": (ok({"access_token": "a\nb", "token_type": "Bearer"}), "issuer-answer"),
    "expires_in true": (
        ok({"access_token": "a", "token_type": "Bearer", "expires_in": True}),
        "issuer-answer",
    ),
    "more than a MiB": ((200, {}, b" " * (1024 * 1024 + 1)), "issuer-answer"),
    "invalid_client": (refused(401, "invalid_client"), "client-refused"),
    "unauthorized_client": (refused(400, "unauthorized_client"), "client-refused"),
    "401 without a word": ((401, {}, b""), "client-refused"),
    "temporarily_unavailable": (refused(400, "temporarily_unavailable"), "issuer-status"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_an_issuer_in_trouble_decides_nothing(
    issuer: OidcIssuer, store: KeyStore, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bad answer at the token endpoint is IssuerAway with its code; a client that is refused is said loudly."""
    answer, code = BAD_ANSWERS[case]
    issuer.answers["token"] = lambda _: answer
    error = away(issuer, store)
    assert error.code == code
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    loud = [line for line in said if line["level"] == "error"]
    assert bool(loud) == (code == "client-refused")
    assert SECRET not in json.dumps(said) + error.message


def test_words_of_an_issuer_that_repeat_a_secret_are_not_passed_on(
    issuer: OidcIssuer, store: KeyStore
) -> None:
    """An error description is for people, unless it holds what was sent."""
    issuer.answers["token"] = lambda seen: refused(
        400, "invalid_grant", error_description=f"code {seen.form['code']} is old"
    )
    assert login_refused(issuer, store).message.endswith("400 invalid_grant")
    issuer.answers["token"] = lambda _: refused(400, "invalid_grant", error_description="Code not valid")
    assert "Code not valid" in login_refused(issuer, store).message


def test_a_token_endpoint_that_hangs_or_drips_is_given_up(issuer: OidcIssuer, store: KeyStore) -> None:
    """The provider's timeout bounds the whole exchange."""
    release = threading.Event()

    def hang(_: Seen) -> Answer:
        release.wait(20)
        return 500, {}, b""

    issuer.answers["token"] = hang
    began = time.monotonic()
    assert away(issuer, store, provider={"timeout": timedelta(seconds=0.5)}).code == "issuer-slow"
    assert time.monotonic() - began < 5
    release.set()


def test_an_issuer_that_is_away(issuer: OidcIssuer, store: KeyStore) -> None:
    """Nothing listens: unreachable, with the address."""
    with OidcIssuer() as gone:
        provider = gone.provider()
    with pytest.raises(IssuerAway) as caught:
        run(provider, store, lambda client: client.metadata())
    assert caught.value.code == "issuer-unreachable"


# -- The address of a login


def query(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))


def where_to(issuer: OidcIssuer, store: KeyStore, session: Session | None = None, **fields: Any) -> str:
    parameters = fields.pop("parameters", {})
    return run(
        issuer.provider(**fields),
        store,
        lambda client: client.authorization_url(
            redirect_uri=REDIRECT, state="st", nonce="no", challenge=challenge(), parameters=parameters
        ),
        session,
    )


def test_the_address_of_a_login(issuer: OidcIssuer, store: KeyStore) -> None:
    """Code flow with S256, state, nonce and the session's scopes; openid is always among them."""
    address = where_to(issuer, store, Session(scopes=("email",)))
    assert address.startswith(issuer.url + "/auth?")
    assert query(address) == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "scope": "openid email",
        "state": "st",
        "nonce": "no",
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
    }


def test_parameters_of_a_login(issuer: OidcIssuer, store: KeyStore) -> None:
    """A request's stand over the provider's, the provider's over none, and none over those that make a login safe."""
    address = where_to(
        issuer,
        store,
        acr_values="gold",
        max_age=timedelta(minutes=5),
        authorization_parameters=(("ui_locales", "de"), ("prompt", "login"), ("client_id", "evil")),
        parameters={
            "ui_locales": "fr",
            "redirect_uri": "https://evil.example",
            "state": "x",
            "login_hint": "a&b=c",
            "request_uri": "https://evil.example/r",
            "response_mode": "form_post",
        },
    )
    found = query(address)
    assert found["ui_locales"] == "fr"
    assert (found["prompt"], found["acr_values"], found["max_age"]) == ("login", "gold", "300")
    assert (found["client_id"], found["redirect_uri"], found["state"]) == (CLIENT, REDIRECT, "st")
    assert found["login_hint"] == "a&b=c"
    assert not {"request_uri", "response_mode"} & set(found)


def test_several_resources(issuer: OidcIssuer, store: KeyStore) -> None:
    """A parameter that is there twice is sent twice (RFC 8707, 2), pushed or not."""
    resources = ("https://a.example", "https://b.example")
    twice: dict[str, Any] = {"authorization_parameters": tuple(("resource", each) for each in resources)}
    assert parse_qs(urlsplit(where_to(issuer, store, **twice)).query)["resource"] == list(resources)
    where_to(issuer, store, pushed_authorization=True, **twice)
    [seen] = issuer.asked("par")
    assert seen.form["resource"] == resources[-1]


def test_endpoints_that_are_given(issuer: OidcIssuer, store: KeyStore) -> None:
    """They stand over those of the document; with the keys' address there is no need of one."""
    given: dict[str, Any] = {
        "endpoints": (
            ("authorization_endpoint", issuer.url + "/auth?given"),
            ("token_endpoint", issuer.url + "/token"),
        )
    }
    assert where_to(issuer, store, **given).startswith(issuer.url + "/auth?given&")
    issuer.answers["discovery"] = lambda _: (503, {}, b"")
    asked = len(issuer.asked("openid-configuration"))
    assert login(issuer, store, provider={**given, "jwks_url": issuer.url + "/certs"}).claims["sub"] == "u-1"
    assert len(issuer.asked("openid-configuration")) == asked


def test_an_endpoint_with_a_query_keeps_it(issuer: OidcIssuer, store: KeyStore) -> None:
    """Azure B2C's endpoints have one: ours is added to it."""
    issuer.discovery_changes = {"authorization_endpoint": issuer.url + "/auth?p=policy"}
    found = parse_qs(urlsplit(where_to(issuer, store)).query)
    assert found["p"] == ["policy"]
    assert found["client_id"] == [CLIENT]


def test_without_pkce_where_the_session_says_so(issuer: OidcIssuer, store: KeyStore) -> None:
    """`pkce` false leaves challenge and verifier out."""
    assert "code_challenge" not in query(where_to(issuer, store, Session(pkce=False)))


@pytest.mark.parametrize("how", ["configured", "required"])
def test_a_pushed_request(issuer: OidcIssuer, store: KeyStore, how: str) -> None:
    """The request goes to the issuer with our proof, and the address holds its name only."""
    issuer.discovery_changes = {"require_pushed_authorization_requests": how == "required"}
    found = query(where_to(issuer, store, pushed_authorization=how == "configured"))
    assert set(found) == {"client_id", "request_uri"}
    pushed = issuer.pushed[found["request_uri"]]
    assert pushed["code_challenge"] == challenge()
    assert pushed["redirect_uri"] == REDIRECT
    assert "client_secret" not in pushed


def test_a_pushed_request_by_private_key_jwt(issuer: OidcIssuer, store: KeyStore, tmp_path: Path) -> None:
    """The proof at the pushed request's endpoint is the same kind as at the token endpoint."""
    file, public = client_key(tmp_path, "ed25519")
    issuer.client_keys, issuer.secret = [public], None
    by_key = ClientAuthentication.PRIVATE_KEY_JWT
    where_to(issuer, store, pushed_authorization=True, client_authentication=by_key, client_key=str(file))
    assert len(issuer.jtis) == len(issuer.pushed) == 1


def test_a_pushed_request_that_is_refused(issuer: OidcIssuer, store: KeyStore) -> None:
    """Another secret at the issuer is our misconfiguration."""
    issuer.secret = "rotated"
    with pytest.raises(IssuerAway) as caught:
        where_to(issuer, store, pushed_authorization=True)
    assert caught.value.code == "client-refused"


# -- Renewals


def test_a_renewal_uses_each_refresh_token_once(issuer: OidcIssuer, store: KeyStore) -> None:
    """A rotating refresh token is followed; a used one ends the grant."""

    async def scenario(client: OidcClient) -> None:
        first = await log_in(client, issuer)
        issuer.access_changes = {"realm_access": {"roles": ["admin"]}}
        second = await client.refresh(first)
        third = await client.refresh(second)
        assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
        assert second.claims["realm_access"] == {"roles": ["admin"]}
        with pytest.raises(GrantEnded) as caught:
            await client.refresh(first)
        assert caught.value.code == "grant-ended"

    run(issuer.provider(), store, scenario)


def test_what_a_renewal_does_not_bring_stays(issuer: OidcIssuer, store: KeyStore) -> None:
    """Without a new refresh token or ID token, those of before go on."""

    async def scenario(client: OidcClient) -> None:
        first = await log_in(client, issuer)
        issuer.answer_changes = {"refresh_token": ..., "id_token": ...}
        second = await client.refresh(first)
        assert second.refresh_token == first.refresh_token
        assert second.id_token == first.id_token
        assert second.id_claims == first.id_claims
        assert second.access_token != first.access_token

    issuer.access_changes = {"jti": "1"}

    async def with_other_tokens(client: OidcClient) -> None:
        issuer.access_changes = {"jti": str(time.monotonic_ns())}
        await scenario(client)

    issuer.opaque = True
    run(issuer.provider(), store, with_other_tokens)


@pytest.mark.parametrize(
    "change",
    [{"sub": "u-2"}, {"iss": "https://evil.example"}, {"aud": "other"}],
)
def test_a_renewal_of_another_login_ends_the_grant(
    issuer: OidcIssuer, store: KeyStore, change: dict[str, Any]
) -> None:
    """The new ID token must speak of the same person, issuer, client and login (OpenID Connect 12.2)."""

    async def scenario(client: OidcClient) -> None:
        tokens = await log_in(client, issuer)
        issuer.id_changes = change
        with pytest.raises(GrantEnded) as caught:
            await client.refresh(tokens)
        assert caught.value.code == "grant-changed"

    run(issuer.provider(), store, scenario)


@pytest.mark.parametrize("case", list(BAD_ANSWERS))
def test_an_issuer_in_trouble_ends_no_session(issuer: OidcIssuer, store: KeyStore, case: str) -> None:
    """Whatever the token endpoint says but invalid_grant, the same refresh token works when it is well again."""
    answer, code = BAD_ANSWERS[case]

    async def scenario(client: OidcClient) -> None:
        tokens = await log_in(client, issuer)
        issuer.answers["token"] = lambda _: answer
        with pytest.raises(IssuerAway) as caught:
            await client.refresh(tokens)
        assert caught.value.code == code
        del issuer.answers["token"]
        assert (await client.refresh(tokens)).refresh_token != tokens.refresh_token

    run(issuer.provider(), store, scenario)


def test_a_rotated_refresh_token_survives_an_issuer_that_fails_beside_it(
    issuer: OidcIssuer, store: KeyStore
) -> None:
    """When userinfo or the newer keys are away in the midst of a renewal, the new refresh token is not lost."""

    async def scenario(client: OidcClient) -> None:
        first = await log_in(client, issuer)
        issuer.answers["userinfo"] = lambda _: (503, {}, b"")
        second = await client.refresh(first)
        assert second.claims["team"] == "red"
        assert second.refresh_token in issuer.refresh
        issuer.kid = "k9"
        issuer.answers["certs"] = lambda _: (503, {}, b"")
        third = await client.refresh(second)
        assert third.refresh_token in issuer.refresh
        assert third.access_token == second.access_token
        assert third.claims == second.claims
        issuer.published.append("k9")
        del issuer.answers["certs"]
        assert (await client.refresh(third)).access_token != third.access_token

    issuer.opaque = True
    run(issuer.provider(), store, scenario)


# -- Passwords, logout


def test_passwords(issuer: OidcIssuer, store: KeyStore) -> None:
    """A right password is a login; a wrong one is refused, without a word of it in the message."""

    async def scenario(client: OidcClient) -> None:
        assert (await client.password("a", "right")).id_claims["sub"] == "u-1"
        with pytest.raises(LoginRefused) as caught:
            await client.password("a", "a-wrong-one")
        assert caught.value.code == "login-password"
        assert "a-wrong-one" not in caught.value.message

    run(issuer.provider(), store, scenario)


def test_revoking_a_refresh_token(issuer: OidcIssuer, store: KeyStore) -> None:
    """The token is of no use after; an issuer without the endpoint says so by False."""

    async def scenario(client: OidcClient) -> None:
        tokens = await log_in(client, issuer)
        assert tokens.refresh_token is not None
        assert await client.revoke(tokens.refresh_token)
        with pytest.raises(GrantEnded):
            await client.refresh(tokens)

    run(issuer.provider(), store, scenario)
    issuer.discovery_changes = {"revocation_endpoint": ...}
    assert run(issuer.provider(), store, lambda client: client.revoke("t")) is False
    session = Session(revocation_url=issuer.url + "/revoke")
    assert run(issuer.provider(), store, lambda client: client.revoke("t"), session) is True
    assert issuer.asked("revoke")[-1].form["refresh_token"] == "t"


def test_the_address_to_log_out_at_the_issuer(issuer: OidcIssuer, store: KeyStore) -> None:
    """It names the login and where to come back; a token too large for an address is left out; away is None."""

    async def scenario(client: OidcClient) -> None:
        address = await client.end_session_url(id_token="a.b.c", post_logout_url="https://x/", state="s")
        assert address is not None
        assert query(address) == {
            "id_token_hint": "a.b.c",
            "client_id": CLIENT,
            "post_logout_redirect_uri": "https://x/",
            "state": "s",
        }
        long = await client.end_session_url(id_token="a" * 5000, post_logout_url=None)
        assert long is not None
        assert query(long) == {"client_id": CLIENT}

    run(issuer.provider(), store, scenario)
    issuer.discovery_changes = {"end_session_endpoint": ...}
    leave: Callable[[OidcClient], Awaitable[str | None]] = lambda client: client.end_session_url(  # noqa: E731
        id_token="a.b.c", post_logout_url=None
    )
    assert run(issuer.provider(), store, leave) is None
    with OidcIssuer() as gone:
        provider = gone.provider()
    assert run(provider, store, leave) is None


# -- Connections


def test_connections_are_kept(issuer: OidcIssuer, store: KeyStore) -> None:
    """Renewals in a row need no new connection each."""

    async def scenario(client: OidcClient) -> None:
        tokens = await log_in(client, issuer)
        for _ in range(5):
            tokens = await client.refresh(tokens)

    run(issuer.provider(), store, scenario)
    assert len({seen.connection for seen in issuer.asked("token")}) == 1


def test_headers_of_the_provider_are_sent_along(issuer: OidcIssuer, store: KeyStore) -> None:
    """Every request carries the configured headers."""
    login(issuer, store, provider={"headers": (("x-tenant", "a"),)})
    assert {seen.headers.get("x-tenant") for seen in issuer.seen} == {"a"}


def test_a_secret_never_prints(issuer: OidcIssuer, store: KeyStore) -> None:
    """Tokens show neither their text nor their claims."""
    tokens = login(issuer, store, provider={"client_secret": Secret(SECRET, "${S}")})
    assert tokens.access_token not in repr(tokens)
    assert "u-1" not in repr(tokens)

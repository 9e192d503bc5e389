"""
How an identity provider logs people in and out: one table for every provider.

    class TestKeycloakLogin(LoginTable): ...     in tests/real/, against real Keycloak 26.7.3
    class TestIdpServerLogin(LoginTable): ...    in tests/idp/, against the built-in one

Each has a fixture `serve`: it takes a realm as a file would have it, and gives the issuer. The expectations were
written down from real Keycloak; the built-in provider is right when it cannot be told apart by them.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.idp.login_realm import APP, CLIENTS, PEM_KEY, SIGNING_KEY, realm
from tests.idp.visitor import Page, Told, Visitor
from tests.realm import unverified_claims

Serve = Callable[[dict[str, Any]], str]

VERIFIER = "v" * 50
WRONG_VERIFIER = "w" * 50


def s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


PKCE = {"code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}

# Whether the client `web` may be answered there; its redirect URIs are in tests/idp/login_realm.py.
REDIRECTS = {
    "http://127.0.0.1/callback": True,
    "http://127.0.0.1:81/callback": True,
    "http://127.0.0.1:8123/callback": True,
    "http://127.0.0.1:8123/callback?x=1": False,
    "http://127.0.0.1:8123/other": False,
    "http://localhost:5555/cb/a/b": True,
    "http://localhost:5555/cb": True,
    "http://localhost/cb/": True,
    "http://localhost/cbx": False,
    "http://localhost/callback": False,
    "http://localhost.evil.example/cb/a": False,
    "http://127.0.0.1.evil.example/callback": False,
    "http://127.0.0.1:80@evil.example/callback": False,
    "http://127.0.0.1:@evil.example/callback": False,
    "http://[::1]:99/cb": True,
    "https://[::1]/cb": True,
    "https://[::1]:99/cb": False,
    "https://app.example/callback": True,
    "https://APP.example/callback": False,
    "HTTPS://app.example/callback": False,
    "https://app.example/Callback": False,
    "https://app.example/callback/": False,
    "https://app.example/callback?x=1": False,
    "https://app.example/callback#f": False,
    "https://app.example:443/callback": False,
    "https://app.example/%63allback": False,
    "https://app.example/x/../callback": False,
    "https://app.example//callback": False,
    "https://app.example/./callback": False,
    "https://app.example/deep/a": True,
    "https://app.example/deep": True,
    "https://app.example/deep/": True,
    "https://app.example/deep?x=1": True,
    "https://app.example/deep/a?x=1": True,
    "https://app.example/deep/a#f": True,
    "https://app.example/deep/../callback2": False,
    "https://app.example/deep/../deep/a": False,
    "https://app.example/deep/%2e%2e/secret": False,
    "https://app.example/deep/%252e%252e/secret": False,
    "https://app.example/deep/a%2fb": True,
    "https://app.example/deep/a%20b": True,
    "https://app.example/deep/a b": False,
    "https://app.example/deeper": False,
    "https://u:p@app.example/deep/a": False,
    "https://app.example/deep/a\\b": False,
    "https://app.example/deep/%": False,
    "https://app.example/deep/é": True,
    "https://q.example/cb?x=1": True,
    "https://q.example/cb?x=2": False,
    "https://q.example/cb": False,
    "https://wild.example/x": True,
    "https://wild.example": True,
    "https://wild.example.evil.example/": False,
    "https://wild.example@evil.example/": False,
    "https://wild.example:8443/x": False,
    "com.example.app:/cb": True,
    "com.example.app:/cb2": False,
    "javascript:alert(1)": False,
    "/relative": False,
    "//app.example/callback": False,
    "not a uri": False,
    "urn:ietf:wg:oauth:2.0:oob": False,
    "": False,
}

# What a request lacks or has: a page (status, words), or what the browser carries back (error, description).
STOPPED: Mapping[str, tuple[dict[str, Any], int, str]] = {
    "unknown client": ({"client_id": "nobody"}, 400, "Client not found."),
    "no client": ({"without": ("client_id",)}, 400, "Invalid Request"),
    "disabled client": ({"client_id": "off"}, 400, "Client disabled."),
    "bearer-only client": ({"client_id": "bearer"}, 403, "Bearer-only applications are not allowed"),
    "foreign redirect": ({"redirect_uri": "https://evil.example/"}, 400, "Invalid parameter: redirect_uri"),
    "no redirect": ({"without": ("redirect_uri",)}, 400, "Invalid parameter: redirect_uri"),
    "no redirects allowed": ({"client_id": "no-uris"}, 400, "Invalid parameter: redirect_uri"),
    "max_age is no number": ({"max_age": "x"}, 400, "Invalid Request"),
    "a request object": ({"request": "abc"}, 400, "Invalid Request"),
    "a request elsewhere": ({"request_uri": "https://x.example"}, 400, "Invalid Request"),
    "a pushed request of nobody": (
        {"request_uri": "urn:ietf:params:oauth:request_uri:zzz"},
        400,
        "Invalid Request",
    ),
}

NOT_BY_FLOW = "Client is not allowed to initiate browser login with given response_type. {} flow is disabled for the client."
PARTED = "Invalid parameter: code challenge method is not matching the configured one"

SENT_BACK: Mapping[str, tuple[str, dict[str, Any], str, str | None]] = {
    "no response type": (
        "web",
        {"without": ("response_type",)},
        "invalid_request",
        "Missing parameter: response_type",
    ),
    "unknown response type": ("web", {"response_type": "nonsense"}, "unsupported_response_type", None),
    "implicit": ("web", {"response_type": "token"}, "unauthorized_client", NOT_BY_FLOW.format("Implicit")),
    "hybrid": (
        "web",
        {"response_type": "code id_token", "nonce": "n"},
        "unauthorized_client",
        NOT_BY_FLOW.format("Implicit"),
    ),
    "no browser login": ("no-flow", {}, "unauthorized_client", NOT_BY_FLOW.format("Standard")),
    "unknown response mode": (
        "web",
        {"response_mode": "bad"},
        "invalid_request",
        "Invalid parameter: response_mode",
    ),
    "unknown scope": (
        "web",
        {"scope": "openid nonsense"},
        "invalid_scope",
        "Invalid scopes: openid nonsense",
    ),
    "empty scope": ("web", {"scope": ""}, "invalid_scope", "Invalid scopes: "),
    "nobody logged in": ("web", {"prompt": "none"}, "login_required", None),
    "none and login": ("web", {"prompt": "none login"}, "login_required", None),
    "no PKCE": ("spa", {}, "invalid_request", "Missing parameter: code_challenge_method"),
    "no PKCE method": (
        "spa",
        {"code_challenge": s256(VERIFIER)},
        "invalid_request",
        "Missing parameter: code_challenge_method",
    ),
    "PKCE plain": (
        "spa",
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
        "invalid_request",
        PARTED,
    ),
    "PKCE too short": (
        "spa",
        {"code_challenge": "short", "code_challenge_method": "S256"},
        "invalid_request",
        "Invalid parameter: code_challenge",
    ),
    "PKCE method alone": (
        "web",
        {"code_challenge_method": "S256"},
        "invalid_request",
        "Missing parameter: code_challenge",
    ),
    "PKCE method unknown": (
        "web",
        {**PKCE, "code_challenge_method": "S512"},
        "invalid_request",
        "Invalid parameter: code_challenge_method",
    ),
    "PKCE of other letters": (
        "web",
        {**PKCE, "code_challenge": "!" * 50},
        "invalid_request",
        "Invalid parameter: code_challenge",
    ),
    "not pushed": ("pushed", {}, "invalid_request", "Pushed Authorization Request is only allowed."),
}

ASKED: Mapping[str, dict[str, Any]] = {
    "no scope": {"without": ("scope",)},
    "no state": {"without": ("state",)},
    "response mode": {"response_mode": "query"},
    "prompt unknown": {"prompt": "bad"},
    "prompt consent": {"prompt": "consent"},
    "max_age negative": {"max_age": "-1"},
    "PKCE plain by default": {"code_challenge": VERIFIER},
    "acr_values": {"acr_values": "1"},
    "claims": {"claims": "{}"},
    "kc_idp_hint": {"kc_idp_hint": "nobody"},
    "a long state": {"state": "s" * 3000},
}

# What is asked for, what is given for the code, and the refusal; each code is then of no use.
CODES: Mapping[str, tuple[dict[str, Any], dict[str, str | None], str]] = {
    "another redirect": ({}, {"redirect_uri": "https://app.example/deep/x"}, "Incorrect redirect_uri"),
    "no redirect": ({}, {"redirect_uri": None}, "Incorrect redirect_uri"),
    "another client": ({}, CLIENTS["plus"], "Auth error: Found different client_id in clientSession"),
    "no verifier": (PKCE, {}, "PKCE code verifier not specified"),
    "wrong verifier": (
        PKCE,
        {"code_verifier": WRONG_VERIFIER},
        "PKCE verification failed: Code mismatch",
    ),
    "short verifier": (
        PKCE,
        {"code_verifier": "w"},
        "PKCE verification failed: Invalid code verifier",
    ),
    "odd verifier": (
        PKCE,
        {"code_verifier": "!" * 50},
        "PKCE verification failed: Invalid code verifier",
    ),
    "verifier for nothing": (
        {},
        {"code_verifier": VERIFIER},
        "PKCE code verifier specified but challenge not present in authorization",
    ),
}

# Codes that are none, which use nothing up.
NO_CODES: Mapping[str, tuple[dict[str, str | None], int, str, str]] = {
    "no code": ({"code": None}, 400, "invalid_request", "Missing parameter: code"),
    "empty code": ({"code": ""}, 400, "invalid_grant", "Code not valid"),
    "nonsense": ({"code": "abc"}, 400, "invalid_grant", "Code not valid"),
    "nonsense in shape": ({"code": "a.b.c"}, 400, "invalid_grant", "Code not valid"),
    "wrong secret": (
        {"client_secret": "x"},
        401,
        "unauthorized_client",
        "Invalid client or Invalid client credentials",
    ),
}

PUSH = {"response_type": "code", "redirect_uri": APP["pushed"], "scope": "openid", "state": "ps"}

NOT_PUSHED: Mapping[str, tuple[str, dict[str, str | None], int, str, str]] = {
    "wrong secret": ("pushed", {"client_secret": "x"}, 401, "invalid_request", "Authentication failed."),
    "foreign redirect": (
        "pushed",
        {"redirect_uri": "https://evil.example/"},
        400,
        "invalid_request",
        "Invalid parameter: redirect_uri",
    ),
    "no redirect": (
        "pushed",
        {"redirect_uri": None},
        400,
        "invalid_request",
        "Invalid parameter: redirect_uri",
    ),
    "a request elsewhere": (
        "pushed",
        {"request_uri": "x"},
        400,
        "invalid_request",
        "It is not allowed to include request_uri to PAR.",
    ),
    "no response type": (
        "pushed",
        {"response_type": None},
        400,
        "invalid_request",
        "Missing parameter: response_type",
    ),
    "unknown response type": (
        "pushed",
        {"response_type": "zz"},
        400,
        "invalid_request",
        "Unsupported response type",
    ),
    "unknown scope": ("pushed", {"scope": "zz"}, 400, "invalid_request", "Invalid scopes: zz"),
    "no PKCE": (
        "spa",
        {"redirect_uri": APP["spa"]},
        400,
        "invalid_request",
        "Missing parameter: code_challenge_method",
    ),
    "no browser login": (
        "no-flow",
        {"redirect_uri": APP["no-flow"]},
        401,
        "unauthorized_client",
        NOT_BY_FLOW.format("Standard"),
    ),
}

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BAD_CLIENT = "Invalid client or Invalid client credentials"
BAD_SIGNATURE = "Client authentication with signed JWT failed: Signature on JWT token failed validation"
FAR = "Token expiration is too far in the future and iat claim not present in token"

# A signed JWT by which a client says who it is: what is different about it, and the refusal (None: it is taken).
# In claims, `...` leaves one out, and numbers of time count from now.
ASSERTIONS: Mapping[str, tuple[dict[str, Any], tuple[int, str] | None]] = {
    "good": ({}, None),
    "its client is named too": ({"form": {"client_id": "signed"}}, None),
    "for the token endpoint": ({"claims": {"aud": "<token>"}}, None),
    "for pushed requests": ({"claims": {"aud": "<par>"}}, None),
    "for a list of one": ({"claims": {"aud": ["<issuer>"]}}, None),
    "for a long time": ({"claims": {"exp": 86400}}, None),
    "by the only key, unnamed": ({"header": {}}, None),
    "by a key from PEM": ({"key": PEM_KEY, "client": "pem", "header": {}}, None),
    "for two": ({"claims": {"aud": ["<issuer>", "x"]}}, (400, "Multiple audiences not allowed")),
    "for somebody else": ({"claims": {"aud": "x"}}, (400, "Invalid token audience")),
    "for nobody": ({"claims": {"aud": ...}}, (400, "Invalid token audience")),
    "by another key": ({"key": PEM_KEY}, (400, BAD_SIGNATURE)),
    "by a key of another name": ({"header": {"kid": "zz"}}, (400, "Unable to load public key")),
    "from PEM, by name": (
        {"key": PEM_KEY, "client": "pem", "header": {"kid": "x"}},
        (400, "Unable to load public key"),
    ),
    "expired": ({"claims": {"exp": -60, "iat": -120}}, (400, "Token is not active")),
    "not yet": ({"claims": {"nbf": 600}}, (400, "Token is not active")),
    "issued later": ({"claims": {"iat": 600, "exp": 660}}, (400, "Token was issued in the future")),
    "without end": ({"claims": {"exp": ...}}, (400, "Token exp claim is required")),
    "long, since when?": ({"claims": {"exp": 86400, "iat": ...}}, (400, FAR)),
    "without a name": ({"claims": {"jti": ...}}, (400, "Token jti claim is required")),
    "about another": ({"claims": {"sub": "web"}}, (401, BAD_CLIENT)),
    "of nobody": ({"client": "nobody"}, (401, BAD_CLIENT)),
    "of a client with a secret": ({"client": "web"}, (401, BAD_CLIENT)),
    "another client is named": ({"form": {"client_id": "web"}}, (401, BAD_CLIENT)),
    "nonsense": ({"form": {"client_assertion": "abc"}}, (401, BAD_CLIENT)),
    "of an unknown type": ({"form": {"client_assertion_type": "zz"}}, (401, BAD_CLIENT)),
    "of no type": ({"form": {"client_assertion_type": None}}, (401, BAD_CLIENT)),
    "a name alone": (
        {
            "form": {
                "client_assertion_type": None,
                "client_assertion": None,
                "client_id": "signed",
                "client_secret": "x",
            }
        },
        (400, "Parameter client_assertion_type is missing"),
    ),
}


class LoginTable:
    """The table. `issuer` serves the realm with its usual settings, for the whole class."""

    @pytest.fixture(scope="class")
    @classmethod
    def told(cls) -> Iterator[Told]:
        with Told() as told:
            yield told

    @pytest.fixture(scope="class")
    @classmethod
    def issuer(cls, serve: Serve, told: Told) -> str:
        return serve(realm("login-table", told.url))

    @pytest.fixture
    def visitor(self, issuer: str) -> Iterator[Visitor]:
        with Visitor(issuer) as visitor:
            yield visitor

    # -- asking

    @pytest.mark.parametrize("uri", REDIRECTS)
    def test_redirect_uris(self, visitor: Visitor, uri: str) -> None:
        """A client is answered at its own addresses only; anything else is an error page."""
        page = visitor.authorize(redirect_uri=uri)
        assert page.asks is REDIRECTS[uri]
        if not page.asks:
            assert (page.status, page.location) == (400, "")
            assert "Invalid parameter: redirect_uri" in page.words

    @pytest.mark.parametrize("case", STOPPED)
    def test_requests_that_are_stopped(self, visitor: Visitor, case: str) -> None:
        """What cannot be trusted to send the browser anywhere is an error page."""
        asked, status, words = STOPPED[case]
        page = visitor.authorize(**asked)
        assert (page.status, page.location) == (status, "")
        assert words in page.words

    @pytest.mark.parametrize("case", SENT_BACK)
    def test_requests_that_are_sent_back(self, visitor: Visitor, case: str) -> None:
        """What is wrong with a request of a known client is told to the client, with its state and the issuer."""
        client, asked, error, description = SENT_BACK[case]
        page = visitor.authorize(client, **asked)
        assert page.location.startswith(APP[client])
        expected = {"error": error, "state": "st", "iss": visitor.issuer}
        assert page.parameters == expected | (
            {} if description is None else {"error_description": description}
        )
        assert ("#error=" in page.location) is (case in ("implicit", "hybrid"))

    def test_a_parameter_given_twice(self, visitor: Visitor) -> None:
        """A repeated parameter is refused; the first state counts."""
        query = f"client_id=web&response_type=code&redirect_uri={APP['web']}&scope=openid&state=a&state=b"
        page = visitor.go(f"{visitor.protocol}/auth?{query}")
        assert (page.parameters["error_description"], page.parameters["state"]) == (
            "duplicated parameter",
            "a",
        )

    @pytest.mark.parametrize("case", ASKED)
    def test_requests_that_are_taken(self, visitor: Visitor, case: str) -> None:
        """These end in the login form."""
        assert visitor.authorize(**ASKED[case]).asks

    def test_a_request_by_form(self, visitor: Visitor) -> None:
        """A request may be posted."""
        form = {"client_id": "web", "response_type": "code", "redirect_uri": APP["web"], "scope": "openid"}
        assert visitor.go(f"{visitor.protocol}/auth", method="POST", form=form).asks

    # -- the form

    def test_the_form(self, visitor: Visitor) -> None:
        """Name and password are asked for; a hint is filled in, and nothing keeps or frames the page."""
        page = visitor.authorize(login_hint="user")
        assert page.value("username") == "user"
        assert "Sign in to your account" in page.words
        assert "no-store" in page.headers["cache-control"]
        assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"

    def test_wrong_then_right(self, visitor: Visitor) -> None:
        """A wrong password is said and the form comes again; the right one then logs in."""
        page = visitor.submit(visitor.authorize(), password="wrong")
        assert page.asks
        assert "Invalid username or password." in page.words
        assert page.value("username") == "user"
        answer = visitor.submit(page)
        assert answer.location.startswith(APP["web"] + "?")
        assert list(answer.parameters) == ["state", "session_state", "iss", "code"]
        assert (answer.parameters["state"], answer.parameters["iss"]) == ("st", visitor.issuer)

    @pytest.mark.parametrize(
        ("username", "password", "words"),
        [
            ("", "", "Invalid username or password."),
            ("user", "", "Invalid username or password."),
            ("nobody", "user-password", "Invalid username or password."),
            ("off", "wrong", "Invalid username or password."),
            ("off", "off-password", "Account is disabled, contact your administrator."),
        ],
    )
    def test_who_cannot_log_in(self, visitor: Visitor, username: str, password: str, words: str) -> None:
        """An account's state is said only to who knows its password."""
        page = visitor.submit(visitor.authorize(), username, password)
        assert page.asks
        assert words in page.words

    def test_by_email(self, visitor: Visitor) -> None:
        """An e-mail address names a user too."""
        assert "code" in visitor.submit(visitor.authorize(), "user@login.example").parameters

    def test_what_was_typed_is_text(self, visitor: Visitor) -> None:
        """A name comes back as it was typed, never as markup."""
        page = visitor.submit(visitor.authorize(), "<script>x", "y")
        assert page.value("username") == "<script>x"
        assert "<script>x" not in page.text

    def test_a_form_belongs_to_its_browser(self, visitor: Visitor) -> None:
        """A form that another browser sends (a page of another site, say) logs nobody in."""
        page = visitor.authorize()
        with Visitor(visitor.issuer) as other:
            answer = other.submit(page)
            assert (answer.status, answer.location) == (400, "")
            assert "cookie not found" in answer.words
            assert not other.is_logged_in()

    def test_a_form_out_of_date(self, visitor: Visitor) -> None:
        """A form that was sent before is shown anew, whatever is typed into it."""
        first = visitor.authorize()
        visitor.submit(first, password="wrong")
        assert visitor.submit(first).asks
        assert not visitor.is_logged_in()

    def test_a_form_is_good_once(self, visitor: Visitor) -> None:
        """A form that logged somebody in gives no second code; the browser is sent back to begin anew."""
        page = visitor.authorize()
        assert "code" in visitor.submit(page).parameters
        again = visitor.submit(page)
        assert "code" not in again.parameters
        assert again.parameters["error"] == "temporarily_unavailable"
        assert again.parameters["error_description"] == "authentication_expired"

    def test_two_tabs(self, visitor: Visitor) -> None:
        """Two tabs that wait at their forms both get in, each with its own state, into one session."""
        pages = [visitor.authorize(state=state) for state in ("one", "two")]
        answers = [visitor.submit(page) for page in pages]
        assert [answer.parameters["state"] for answer in answers] == ["one", "two"]
        assert len({answer.parameters["session_state"] for answer in answers}) == 1

    def test_two_people(self, visitor: Visitor) -> None:
        """A tab where somebody else signs in, in a browser that is logged in, is stopped."""
        waiting = visitor.authorize()
        visitor.log_in()
        answer = visitor.submit(waiting, "other", "other-password")
        assert (answer.status, answer.location) == (400, "")
        assert "already authenticated as different user 'user'" in answer.words

    # -- a session

    def test_single_sign_on(self, visitor: Visitor) -> None:
        """Who is logged in gets a code without a form, for every client, into the same session."""
        first = visitor.log_in()
        for client, asked in (
            ("web", {}),
            ("web", {"prompt": "none"}),
            ("web", {"prompt": "consent"}),
            ("web", {"max_age": "100"}),
            ("web", {"login_hint": "other"}),
            ("plus", {}),
        ):
            answer = visitor.authorize(client, **asked)
            assert answer.parameters["session_state"] == first.parameters["session_state"]
            assert answer.parameters["code"] != first.parameters["code"]

    @pytest.mark.parametrize("asked", [{"prompt": "login"}, {"max_age": "0"}])
    def test_signing_in_again(self, visitor: Visitor, asked: dict[str, str]) -> None:
        """Where it is asked for, the same user has to show the password again; nobody else may."""
        session = visitor.log_in().parameters["session_state"]
        page = visitor.authorize(**asked)
        deadline = time.monotonic() + 5  # Keycloak counts in whole seconds
        while not page.asks and time.monotonic() < deadline:
            page = visitor.authorize(**asked)
        assert page.asks
        assert "Please re-authenticate to continue" in page.words
        wrong = visitor.submit(page, "other", "other-password")
        assert wrong.asks
        assert visitor.submit(wrong).parameters["session_state"] == session

    def test_states(self, visitor: Visitor) -> None:
        """The state comes back as it was, empty or absent too."""
        visitor.log_in()
        assert visitor.authorize(state="").parameters["state"] == ""
        assert "state" not in visitor.authorize(without=("state",)).parameters
        assert visitor.authorize(state="a b&c=d#é").parameters["state"] == "a b&c=d#é"

    def test_the_redirect_uri_stays_as_it_is(self, visitor: Visitor) -> None:
        """Its own query stays in front as it was written, its fragment at the end."""
        visitor.log_in()
        asked = visitor.authorize("plus", redirect_uri="https://plus.example/a?x=1&y=%20z")
        assert asked.location.startswith("https://plus.example/a?x=1&y=%20z&state=st&")
        marked = visitor.authorize("plus", redirect_uri="https://plus.example/a#f")
        assert marked.location.startswith("https://plus.example/a?state=st&")
        assert marked.location.endswith("#f")

    # -- codes and tokens

    def test_tokens_of_a_login(self, visitor: Visitor) -> None:
        """The ID token is for the client, of the session, with the nonce; the others do not say the nonce."""
        answer = visitor.exchange(visitor.code(nonce="nn")).json()
        assert (answer["expires_in"], answer["refresh_expires_in"]) == (300, 1800)
        access, identity = (unverified_claims(answer[name]) for name in ("access_token", "id_token"))
        assert (identity["aud"], identity["azp"], identity["nonce"]) == ("web", "web", "nn")
        assert identity["sid"] == access["sid"] == answer["session_state"]
        assert identity["auth_time"] == access["auth_time"]
        assert abs(identity["auth_time"] - identity["iat"]) <= 2
        assert identity["acr"] == access["acr"] == "1"
        digest = hashlib.sha256(answer["access_token"].encode()).digest()[:16]
        assert identity["at_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert access["jti"].startswith("onrtac:")
        for token in ("access_token", "refresh_token"):
            assert "nonce" not in unverified_claims(answer[token])

    def test_tokens_of_single_sign_on(self, visitor: Visitor) -> None:
        """Without a form `acr` is 0, and the time is that of the login."""
        first = unverified_claims(visitor.tokens()["id_token"])
        second = unverified_claims(visitor.tokens()["id_token"])
        assert (second["acr"], second["auth_time"]) == ("0", first["auth_time"])

    def test_refreshed_tokens(self, visitor: Visitor) -> None:
        """A refresh keeps session and time of login, and says no nonce."""
        tokens = visitor.exchange(visitor.code(nonce="nn")).json()
        first, renewed = (
            unverified_claims(one["id_token"]) for one in (tokens, visitor.refresh(tokens).json())
        )
        assert "nonce" not in renewed
        assert (renewed["sid"], renewed["auth_time"]) == (first["sid"], first["auth_time"])

    def test_without_openid(self, visitor: Visitor) -> None:
        """Without the scope openid there is no ID token."""
        answer = visitor.tokens(without=("scope",))
        assert "id_token" not in answer
        assert set(answer["scope"].split()) == {"email", "profile"}

    def test_proof_keys(self, visitor: Visitor) -> None:
        """A public client proves by its verifier that the code is its own."""
        for asked, verifier in ((PKCE, VERIFIER), ({"code_challenge": VERIFIER}, VERIFIER)):
            assert visitor.exchange(visitor.code(**asked), code_verifier=verifier).status_code == 200
        code = visitor.code("spa", **PKCE)
        assert visitor.exchange(code, "spa", code_verifier=VERIFIER).status_code == 200

    @pytest.mark.parametrize("case", CODES)
    def test_codes_for_nothing(self, visitor: Visitor, case: str) -> None:
        """A code that is shown wrongly is refused, and used up."""
        asked, given, words = CODES[case]
        code = visitor.code(**asked)
        refused = visitor.exchange(code, **given)
        assert refused.status_code == 400
        assert refused.json() == {"error": "invalid_grant", "error_description": words}
        right = visitor.exchange(code, code_verifier=VERIFIER if asked else None)
        assert right.json() == {"error": "invalid_grant", "error_description": "Code not valid"}

    @pytest.mark.parametrize("case", NO_CODES)
    def test_what_is_no_code(self, visitor: Visitor, case: str) -> None:
        """What is no code, or comes from nobody, is refused and uses nothing up."""
        given, status, error, words = NO_CODES[case]
        code = visitor.code()
        refused = visitor.exchange(code, **given)
        assert (refused.status_code, refused.json()["error"]) == (status, error)
        assert refused.json()["error_description"] == words
        assert visitor.exchange(code).status_code == 200

    def test_a_code_used_twice(self, visitor: Visitor) -> None:
        """A second use ends the client's tokens; the user stays logged in, and a new login works."""
        code = visitor.code()
        tokens = visitor.exchange(code).json()
        assert visitor.exchange(code).json()["error_description"] == "Code not valid"
        assert visitor.refresh(tokens).json() == {
            "error": "invalid_grant",
            "error_description": "Session doesn't have required client",
        }
        seen = visitor.userinfo(tokens)
        assert seen.status_code == 401
        assert 'error_description="user_session_not_found"' in seen.headers["www-authenticate"]
        assert visitor.is_logged_in()
        assert visitor.refresh(visitor.tokens()).status_code == 200

    def test_a_code_of_an_ended_session(self, visitor: Visitor) -> None:
        """A code dies with its session."""
        tokens = visitor.tokens()
        code = visitor.code()
        visitor.log_out(id_token_hint=tokens["id_token"])
        assert visitor.exchange(code).json()["error_description"] == "Code not valid"

    def test_offline(self, visitor: Visitor) -> None:
        """An offline token outlives the logout of its browser."""
        tokens = visitor.tokens(scope="openid offline_access")
        claims = unverified_claims(tokens["refresh_token"])
        assert (claims["typ"], tokens["refresh_expires_in"], "exp" in claims) == ("Offline", 0, False)
        assert unverified_claims(tokens["access_token"])["jti"].startswith("ofrtac:")
        visitor.log_out(id_token_hint=tokens["id_token"])
        assert not visitor.is_logged_in()
        assert visitor.refresh(tokens).status_code == 200

    # -- pushed requests

    def test_a_pushed_request(self, visitor: Visitor) -> None:
        """A client pushes its request, the browser brings its name; that is good once, for its client."""
        pushed = visitor.as_client("ext/par/request", "pushed", **PUSH)
        assert pushed.status_code == 201
        assert pushed.json()["expires_in"] == 60
        name = pushed.json()["request_uri"]
        wrong = visitor.go(f"{visitor.protocol}/auth", query={"client_id": "web", "request_uri": name})
        assert (wrong.status, wrong.location) == (400, "")
        brought = {"client_id": "pushed", "request_uri": name, "state": "ignored"}
        answer = visitor.submit(visitor.go(f"{visitor.protocol}/auth", query=brought))
        assert answer.location.startswith(APP["pushed"])
        assert answer.parameters["state"] == "ps"
        assert visitor.exchange(answer.parameters["code"], "pushed").status_code == 200
        again = visitor.go(f"{visitor.protocol}/auth", query=brought)
        assert (again.status, again.location) == (400, "")

    @pytest.mark.parametrize("case", NOT_PUSHED)
    def test_requests_that_cannot_be_pushed(self, visitor: Visitor, case: str) -> None:
        """What would be refused of a browser is refused when it is pushed."""
        client, changed, status, error, words = NOT_PUSHED[case]
        refused = visitor.as_client("ext/par/request", client, **{**PUSH, **changed})
        assert refused.status_code == status
        assert refused.json() == {"error": error, "error_description": words}

    # -- clients that sign

    @pytest.mark.parametrize("case", ASSERTIONS)
    def test_signed_clients(self, visitor: Visitor, case: str) -> None:
        """A client may authenticate by a JWT that its key signed, for this issuer, for a short time."""
        how, refused = ASSERTIONS[case]
        answer = visitor.as_client("token", "", **{"client_id": None, **signed_form(visitor, **how)})
        if refused is None:
            assert answer.status_code == 200, answer.text
        else:
            assert answer.status_code == refused[0]
            assert answer.json()["error_description"] == refused[1]

    def test_a_signed_jwt_is_taken_once(self, visitor: Visitor) -> None:
        """The same JWT again is refused."""
        form = {"client_id": None, **signed_form(visitor)}
        answers = [visitor.as_client("token", "", **form) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 400]
        assert answers[1].json()["error_description"] == "Token reuse detected"

    def test_a_signed_client_logs_in(self, visitor: Visitor) -> None:
        """A code is exchanged by a signed JWT too."""
        form = signed_form(visitor, form={"grant_type": "authorization_code", "client_id": None})
        assert visitor.exchange(visitor.code("signed"), "signed", **form).status_code == 200

    # -- logging out

    def test_with_the_id_token(self, visitor: Visitor, told: Told) -> None:
        """With its ID token a session ends at once, everywhere, and the clients are told."""
        tokens = visitor.tokens()
        visitor.code("spa", **PKCE)
        told.calls.clear()
        page = visitor.log_out(
            id_token_hint=tokens["id_token"],
            post_logout_redirect_uri="https://app.example/bye",
            state="s 1",
        )
        assert page.location == "https://app.example/bye?state=s+1"
        assert not visitor.is_logged_in()
        assert visitor.refresh(tokens).json() == {
            "error": "invalid_grant",
            "error_description": "Session not active",
        }
        assert (
            'error_description="user_session_not_found"'
            in visitor.userinfo(tokens).headers["www-authenticate"]
        )
        again = visitor.log_out(
            id_token_hint=tokens["id_token"], post_logout_redirect_uri="https://app.example/out/x?y=1"
        )
        assert again.location == "https://app.example/out/x?y=1"
        self._check_calls(visitor, told, tokens)

    @staticmethod
    def _check_calls(visitor: Visitor, told: Told, tokens: Mapping[str, Any]) -> None:
        """Each client of the session was told once, with or without the session's name, as it asked."""
        (web,), (spa,) = told.of("/web"), told.of("/spa")
        claims = unverified_claims(tokens["id_token"])
        for client, said in (("web", web), ("spa", spa)):
            assert (said["header"]["typ"], said["header"]["alg"]) == ("logout+jwt", "RS256")
            assert (said["typ"], said["aud"], said["iss"]) == ("Logout", client, visitor.issuer)
            assert (said["sub"], said["exp"] - said["iat"]) == (claims["sub"], 120)
            assert said["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
            assert said["jti"]
            assert "nonce" not in said
        assert (web["sid"], "sid" in spa) == (claims["sid"], False)

    def test_a_page_says_so(self, visitor: Visitor) -> None:
        """Without an address to go to, a page says that the user is logged out."""
        page = visitor.log_out(id_token_hint=visitor.tokens()["id_token"])
        assert (page.status, page.location) == (200, "")
        assert "You are logged out" in page.words

    def test_without_the_id_token(self, visitor: Visitor, told: Told) -> None:
        """Without its ID token the user is asked, and only the answer ends the session."""
        tokens = visitor.tokens()
        told.calls.clear()
        page = visitor.log_out()
        assert "Do you want to log out?" in page.words
        assert visitor.userinfo(tokens).status_code == 200
        done = self._confirm(visitor, page)
        assert "You are logged out" in done.words
        assert not visitor.is_logged_in()
        assert len(told.of("/web")) == 1

    @staticmethod
    def _confirm(visitor: Visitor, page: Page) -> Page:
        form = {"session_code": page.value("session_code"), "confirmLogout": "Logout"}
        return visitor.go(page_url(visitor, page), method="POST", form=form)

    def test_a_made_up_answer(self, visitor: Visitor) -> None:
        """An answer that was not on the page ends nothing."""
        visitor.tokens()
        page = visitor.log_out()
        form = {"session_code": "wrong", "confirmLogout": "Logout"}
        assert visitor.go(page_url(visitor, page), method="POST", form=form).status >= 400
        assert visitor.is_logged_in()

    def test_with_the_client_alone(self, visitor: Visitor) -> None:
        """Client and address are enough to go on, after the question; with no session, at once."""
        asked = {"client_id": "web", "post_logout_redirect_uri": "https://app.example/bye", "state": "q"}
        visitor.tokens()
        page = visitor.log_out(**asked)
        assert "Do you want to log out?" in page.words
        assert self._confirm(visitor, page).location == "https://app.example/bye?state=q"
        assert visitor.log_out(**asked).location == "https://app.example/bye?state=q"

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            (
                {"id_token_hint": "<id>", "post_logout_redirect_uri": "https://evil.example/"},
                "Invalid redirect uri",
            ),
            ({"post_logout_redirect_uri": "https://app.example/bye"}, "Missing parameters: id_token_hint"),
            ({"id_token_hint": "abc"}, "Invalid parameter: id_token_hint"),
            ({"id_token_hint": "<access>"}, "Invalid parameter: id_token_hint"),
            ({"id_token_hint": "<id>", "client_id": "plus"}, "Invalid parameter: id_token_hint"),
        ],
    )
    def test_logouts_that_are_stopped(self, visitor: Visitor, parameters: dict[str, str], words: str) -> None:
        """A logout that cannot be trusted is an error page, and the session goes on."""
        tokens = visitor.tokens()
        given = {"<id>": tokens["id_token"], "<access>": tokens["access_token"]}
        page = visitor.log_out(**{name: given.get(value, value) for name, value in parameters.items()})
        assert (page.status, page.location) == (400, "")
        assert words in page.words
        assert visitor.is_logged_in()

    def test_the_id_token_of_another_session(self, visitor: Visitor) -> None:
        """A browser that is logged in otherwise is asked first; one that is not ends the named session."""
        tokens = visitor.tokens()
        with Visitor(visitor.issuer) as other:
            other.log_in()
            page = other.log_out(id_token_hint=tokens["id_token"])
            assert "Do you want to log out?" in page.words
            assert other.is_logged_in()
        with Visitor(visitor.issuer) as stranger:
            assert "You are logged out" in stranger.log_out(id_token_hint=tokens["id_token"]).words
        assert not visitor.is_logged_in()

    @pytest.mark.parametrize(("client", "allowed"), [("plus", True), ("none", True), ("minus", False)])
    def test_where_a_logout_ends(self, visitor: Visitor, client: str, allowed: bool) -> None:
        """A client may say that its redirect URIs count, which is so when it says nothing, or that none does."""
        tokens = visitor.tokens(client)
        uri = APP[client].removesuffix("a") + "zz"
        page = visitor.log_out(id_token_hint=tokens["id_token"], post_logout_redirect_uri=uri)
        assert (page.location == uri) is allowed

    def test_by_form(self, visitor: Visitor) -> None:
        """A logout may be posted."""
        form = {
            "id_token_hint": visitor.tokens()["id_token"],
            "post_logout_redirect_uri": "https://app.example/bye",
        }
        page = visitor.go(f"{visitor.protocol}/logout", method="POST", form=form)
        assert page.location == "https://app.example/bye"

    def test_by_the_refresh_token(self, visitor: Visitor, told: Told) -> None:
        """A client without a browser ends a session by its refresh token."""
        tokens = visitor.tokens()
        told.calls.clear()
        assert visitor.as_client("logout", refresh_token=tokens["refresh_token"]).status_code == 204
        assert not visitor.is_logged_in()
        assert len(told.of("/web")) == 1
        refused = visitor.as_client("logout", refresh_token="abc")
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")

    def test_by_the_browser(self, visitor: Visitor, told: Told) -> None:
        """A client that wants it hears of the logout in a frame, with session and issuer; then the browser goes on."""
        tokens = visitor.tokens("front")
        visitor.code()
        told.calls.clear()
        page = visitor.log_out(
            id_token_hint=tokens["id_token"], post_logout_redirect_uri="https://front.example/x", state="f"
        )
        assert (page.status, page.location) == (200, "")
        (frame,) = page.frames
        assert frame.startswith(f"https://front.example/leave?a=1&sid={tokens['session_state']}&iss=http")
        assert "front.example" in page.headers["content-security-policy"]
        assert 'href="https://front.example/x?state=f"' in page.text
        assert len(told.of("/web")) == 1
        assert not visitor.is_logged_in()

    # -- revoking

    def test_revoking_an_access_token(self, visitor: Visitor) -> None:
        """It alone is no longer active."""
        tokens = visitor.tokens()
        answer = visitor.as_client("revoke", token=tokens["access_token"])
        assert (answer.status_code, answer.content) == (200, b"")
        assert visitor.userinfo(tokens).status_code == 401
        assert self._introspected(visitor, tokens["access_token"]) == {"active": False}
        renewed = visitor.refresh(tokens).json()
        assert self._introspected(visitor, renewed["access_token"])["active"] is True

    def test_revoking_a_refresh_token(self, visitor: Visitor, told: Told) -> None:
        """It ends the client's part, with the last client the session; nobody is told."""
        tokens = visitor.tokens()
        visitor.tokens("plus")
        told.calls.clear()
        assert visitor.as_client("revoke", token=tokens["refresh_token"]).status_code == 200
        assert visitor.refresh(tokens).json()["error"] == "invalid_grant"
        assert self._introspected(visitor, tokens["access_token"]) == {"active": False}
        assert visitor.is_logged_in()
        assert told.calls == []
        with Visitor(visitor.issuer) as alone:
            alone.as_client("revoke", token=alone.tokens()["refresh_token"])
            assert not alone.is_logged_in()

    @pytest.mark.parametrize(
        ("client", "token", "status", "error"),
        [
            ("web", None, 400, "invalid_request"),
            ("web", "abc", 200, "invalid_token"),
            ("web", "<id_token>", 400, "unsupported_token_type"),
            ("plus", "<refresh_token>", 400, "invalid_request"),
            ("nobody", "abc", 401, "invalid_client"),
        ],
    )
    def test_what_is_not_revoked(
        self, visitor: Visitor, client: str, token: str | None, status: int, error: str
    ) -> None:
        """Only a client's own refresh and access tokens can be revoked."""
        tokens = visitor.tokens()
        given = tokens.get((token or "").strip("<>"), token)
        answer = visitor.as_client("revoke", client, token=given)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert visitor.refresh(tokens).status_code == 200

    # -- introspecting

    @staticmethod
    def _introspected(
        visitor: Visitor, token: str, client: str = "web", hint: str | None = None
    ) -> dict[str, Any]:
        answer = visitor.as_client("token/introspect", client, token=token, token_type_hint=hint)
        return dict(answer.raise_for_status().json())

    def test_introspecting_each_kind(self, visitor: Visitor) -> None:
        """An ID token is active for its client; a refresh token for its own, and only by the hint."""
        tokens = visitor.exchange(visitor.code(nonce="nn")).json()
        identity = self._introspected(visitor, tokens["id_token"])
        assert (identity["active"], identity["typ"], identity["token_type"]) == (True, "ID", "ID")
        assert (identity["nonce"], set(identity["aud"])) == ("nn", {"web", "account"})
        assert "realm_access" in identity
        assert self._introspected(visitor, tokens["refresh_token"]) == {"active": False}
        refresh = self._introspected(visitor, tokens["refresh_token"], hint="refresh_token")
        assert (refresh["active"], refresh["typ"]) == (True, "Refresh")
        assert set(refresh["aud"]) == {visitor.issuer, "web", "account"}
        for client in ("plus", "front"):
            for hint in (None, "refresh_token"):
                for kind in ("access_token", "id_token", "refresh_token"):
                    assert self._introspected(visitor, tokens[kind], client, hint) == {"active": False}

    def test_introspecting_for_oneself(self, visitor: Visitor) -> None:
        """Without the audience a client sees its own ID and refresh token, not its access token."""
        tokens = visitor.tokens("plus")
        assert self._introspected(visitor, tokens["access_token"], "plus") == {"active": False}
        assert self._introspected(visitor, tokens["id_token"], "plus")["active"] is True
        refresh = self._introspected(visitor, tokens["refresh_token"], "plus", "refresh_token")
        assert refresh["active"] is True

    # -- refresh tokens that are used once

    @pytest.mark.parametrize("reuse", [0, 1])
    def test_using_a_refresh_token_again(self, serve: Serve, told: Told, reuse: int) -> None:
        """Beyond what the realm allows, a second use ends the client's tokens; the user stays logged in."""
        with Visitor(serve(self._counting(told, reuse))) as visitor:
            tokens = visitor.tokens()
            new = visitor.refresh(tokens).json()
            for _ in range(reuse):
                assert visitor.refresh(tokens).status_code == 200
            assert visitor.refresh(tokens).json() == {
                "error": "invalid_grant",
                "error_description": "Maximum allowed refresh token reuse exceeded",
            }
            refused = visitor.refresh(new).json()
            assert refused["error_description"] == "Session doesn't have required client"
            assert visitor.is_logged_in()
            assert visitor.refresh(visitor.tokens()).status_code == 200

    def test_logins_are_counted_apart(self, serve: Serve, told: Told) -> None:
        """Each login has its own refresh tokens: the use of one does not spend the other's."""
        with Visitor(serve(self._counting(told, 0))) as visitor:
            logins = [visitor.tokens() for _ in range(2)]
            renewed = [visitor.refresh(tokens).json() for tokens in logins]
            lines = [
                {unverified_claims(one["refresh_token"])["reuse_id"] for one in both}
                for both in zip(logins, renewed, strict=True)
            ]
            assert [len(line) for line in lines] == [1, 1]
            assert lines[0] != lines[1]
            assert [visitor.refresh(one).status_code for one in renewed] == [200, 200]

    @staticmethod
    def _counting(told: Told, reuse: int) -> dict[str, Any]:
        settings = {"revokeRefreshToken": True, "refreshTokenMaxReuse": reuse}
        return realm(f"reuse-{reuse}-{secrets.token_hex(4)}", told.url, **settings)

    # -- lifespans

    def test_lifespans(self, serve: Serve, told: Told) -> None:
        """Tokens live as long as the realm says."""
        settings = {"accessTokenLifespan": 7, "ssoSessionIdleTimeout": 40}
        with Visitor(serve(realm(f"short-{secrets.token_hex(4)}", told.url, **settings))) as visitor:
            tokens = visitor.tokens()
        assert (tokens["expires_in"], tokens["refresh_expires_in"]) == (7, 40)


def page_url(visitor: Visitor, page: Page) -> str:
    """Where a page's form leads, whole."""
    if page.action.startswith("http"):
        return page.action
    origin = "/".join(visitor.issuer.split("/")[:3])
    return origin + page.action


def signed_form(
    visitor: Visitor,
    *,
    client: str = "signed",
    key: RSAKey = SIGNING_KEY,
    header: Mapping[str, str] | None = None,
    claims: Mapping[str, Any] | None = None,
    form: Mapping[str, str | None] | None = None,
) -> dict[str, str | None]:
    """A token request of a client that signs, with something different about it (see ASSERTIONS)."""
    now = int(time.time())
    times: dict[str, Any] = {"iat": 0, "exp": 60}
    usual: dict[str, Any] = {"iss": client, "sub": client, "aud": "<issuer>", "jti": secrets.token_hex(8)}
    said = {name: value for name, value in {**usual, **times, **(claims or {})}.items() if value is not ...}
    said |= {name: now + said[name] for name in ("iat", "exp", "nbf") if name in said}
    if "aud" in said:
        said["aud"] = _placed(said["aud"], visitor)
    named = {"kid": SIGNING_KEY.kid} if header is None else header
    plain = RSAKey.import_key(
        {name: value for name, value in key.as_dict(private=True).items() if name in _RSA}
    )
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": jwt.encode({"alg": "RS256", **named}, said, plain, algorithms=["RS256"]),
        **(form or {}),
    }


_RSA = ("kty", "n", "e", "d", "p", "q", "dp", "dq", "qi")


def _placed(audience: Any, visitor: Visitor) -> Any:
    if isinstance(audience, list):
        return [_placed(one, visitor) for one in audience]
    places = {
        "<issuer>": visitor.issuer,
        "<token>": f"{visitor.protocol}/token",
        "<par>": f"{visitor.protocol}/ext/par/request",
    }
    return places.get(audience, audience)

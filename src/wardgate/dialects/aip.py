"""
Requests of agents (S2): safety policies in files; who may ask and who decides by flags and the environment.

    wardgate aip-gateway --oidc-issuer-url https://id.example.com/realms/aip --oidc-audience aip-gateway \\
        --agent-subjects aip-agent-1 --reviewer-subjects aip-reviewer-1 --safety-policies policies.yaml

A flag `--agent-subjects` is `--set agent-subjects=` to other commands, and WARDGATE_AGENT_SUBJECTS in the environment.
Without any policy each request is approved as it comes, as S2 shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from wardgate import policy as model
from wardgate.dialects import Options, Reading, _agents
from wardgate.dialects import _native_values as values
from wardgate.dialects._aip_policies import GROUP, policies
from wardgate.dialects._login import Terms, check_login
from wardgate.dialects._native_place import Building
from wardgate.document import Document
from wardgate.problems import NOWHERE, ConfigError, Problem, Where, errors, shown
from wardgate.safety import SafetyPolicy

Made = TypeVar("Made")

CODES: Final[Mapping[str, str]] = {
    "aip-setting": "A setting of the gateway for agents is missing, unknown, or has a value that it cannot have.",
    "safety-form": "A safety policy is not written as one.",
    "safety-kind": "A manifest of governance.aip.io is of a kind that is not read.",
    "safety-unsupported": "A safety policy asks for what is not evaluated here; without it, it would mean something else.",
}
"""The problems that this format has beyond those of documents and of the model."""

PROVIDER: Final = "aip"
LISTEN: Final = ":8080"
AUDIENCE: Final = "aip-gateway"

SETTINGS: Final[Mapping[str, str]] = {
    "addr": f"where to listen; {LISTEN} by default",
    "tls-certificate": "a PEM file: the gateway speaks TLS (https), with tls-key",
    "tls-key": "the PEM file of its key",
    "admin": "where metrics are, such as 127.0.0.1:9090; nowhere by default",
    "access-log": "true (default) or false",
    "oidc-issuer-url": "who issues the tokens",
    "oidc-audience": f"what their aud must hold; {AUDIENCE} by default",
    "oidc-identity-claim": "the claim that says which agent or reviewer calls; azp by default",
    "oidc-groups-claim": "the claim that holds groups; groups by default",
    "agent-subjects": "who may ask, divided by commas",
    "reviewer-subjects": "who decides",
    "admin-subjects": "who decides, and reads the record",
    "agent-groups": "groups whose members may ask",
    "reviewer-groups": "groups whose members decide",
    "admin-groups": "groups whose members decide, and read the record",
    "agent-owners": "AGENT=PERSON pairs: a person who answers for an agent cannot approve what it asks for",
    "store": "postgresql://USER:PASSWORD@HOST/DATABASE; a file in the state directory by default",
    "pending-for": "after which time an undecided request expires; 24h by default",
    "dedup-window": "for how long a dedupKey means the same request; 24h by default",
    "webhook-url": "who is told by POST of requests that wait for people",
    "webhook-secret": "what signs that (Standard Webhooks)",
    "console-client-id": "the client that people log in through, at /console; without it there is no console",
    "console-client-secret": "its secret",
    "console-url": "the address of the gateway for browsers, such as https://agents.example.com",
    "console-scopes": "what a login asks for; openid profile email by default",
    "console-sessions": "cookie, or redis://…, for several replicas; on this machine by default",
    "console-encryption-key": "32 bytes in base64, the same for all replicas; made by this machine by default",
}
"""What can be set, and what it is."""


_CONSOLE_KEYS: Final[Mapping[str, str]] = {
    "redirection_url": "console-url",
    "store_url": "console-sessions",
    "encryption_key": "console-encryption-key",
    "scopes": "console-scopes",
}
"""Fields of a session, as they are set here."""


class Aip:
    """Safety policies, and the settings of S2's gateway."""

    name = "aip"
    title = "SafetyPolicy (S2)"

    def recognizes(self, document: Document) -> bool:
        data = document.data
        if not isinstance(data, Mapping):
            return False
        return str(data.get("apiVersion", "")).partition("/")[0] == GROUP or "safety-policies" in data

    def read(self, documents: Sequence[Document], options: Options) -> Reading:
        safety, wrong = safety_policies(documents)
        settings = _Settings(options)
        policy = settings.policy(safety)
        found = [*wrong, *settings.problems]
        problems = tuple(sorted(dict.fromkeys(found), key=lambda one: (one.where.file, one.where.line)))
        return Reading(policy=None if errors(problems) else policy, problems=problems)


DIALECT = Aip()


def safety_policies(documents: Sequence[Document]) -> tuple[tuple[SafetyPolicy, ...], tuple[Problem, ...]]:
    """The policies of documents, and what is wrong with them."""
    buildings = [Building(document=document) for document in documents if document.data is not None]
    found = tuple(policy for building in buildings for policy in policies(building))
    return found, tuple(problem for building in buildings for problem in building.problems)


def variable(key: str) -> str:
    """`agent-subjects` in the environment."""
    return "WARDGATE_" + key.upper().replace("-", "_")


class _Settings:
    """`--set`, then the environment; `problems` are those of both."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._given = dict(options.settings)
        self.problems: list[Problem] = [
            Problem(
                code="aip-setting",
                message="is not a setting here",
                where=Where(file="--set", path=key),
                hint=f"one of {', '.join(SETTINGS)}",
            )
            for key in self._given
            if key not in SETTINGS and key != "listen"
        ]

    def policy(self, safety: tuple[SafetyPolicy, ...]) -> model.Policy | None:
        provider, approvals, listener = self._provider(), self._approvals(safety), self._listener()
        admin, session = self._address("admin"), self._session()
        if provider is None or approvals is None or listener is None:
            return None
        try:
            policy = model.Policy(
                dialect=Aip.name,
                listeners=(listener,),
                providers=(provider,),
                trusted_proxies=self._options.trusted_proxies or (),
                admin=admin,
                access_log=self._text("access-log", "true") != "false",
                session=session,
                approvals=approvals,
            )
        except ConfigError as error:
            self.problems += error.problems
            return None
        if session is not None:
            terms = Terms(
                where=lambda field: self._where(_CONSOLE_KEYS.get(field, "console-url")), names=_CONSOLE_KEYS
            )
            self.problems += check_login(policy, terms)
        return policy

    def _text(self, key: str, usual: str = "") -> str:
        return self._given.get(key) or self._options.environ.get(variable(key), "").strip() or usual

    def _list(self, key: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self._text(key).split(",") if part.strip())

    def _where(self, key: str) -> Where:
        if key not in self._given and self._options.environ.get(variable(key)):
            return Where(file="environment", path=variable(key))
        return Where(file="--set", path=key)

    def _refuse(self, key: str, message: str, hint: str, got: str = "") -> None:
        problem = Problem(code="aip-setting", message=message, where=self._where(key), got=got, hint=hint)
        self.problems.append(problem)

    def _provider(self) -> model.Provider | None:
        issuer = self._text("oidc-issuer-url")
        if not issuer:
            hint = f"such as https://id.example.com/realms/aip; or {variable('oidc-issuer-url')}"
            self._refuse("oidc-issuer-url", "is not set: whose tokens are accepted?", hint)
            return None
        if urlsplit(issuer).scheme not in ("http", "https") or re.search(r"[\s#?]", issuer):
            hint = "such as https://id.example.com/realms/aip"
            self._refuse("oidc-issuer-url", "is no http(s) URL", hint, shown(issuer))
            return None
        return self._made(
            "oidc-issuer-url",
            lambda: model.Provider(
                name=PROVIDER,
                issuer=issuer,
                audience=model.Audiences(any_of=(self._text("oidc-audience", AUDIENCE),)),
                client_id=self._text("console-client-id") or None,
                client_secret=self._secret("console-client-secret"),
            ),
        )

    def _approvals(self, safety: tuple[SafetyPolicy, ...]) -> model.Approvals | None:
        members = {
            role: model.Members(subjects=self._list(f"{role}-subjects"), groups=self._list(f"{role}-groups"))
            for role in ("agent", "reviewer", "admin")
        }
        pending, dedup = self._duration("pending-for"), self._duration("dedup-window")
        owners = self._owners()
        store, webhook = self._store(), self._webhook()
        return self._made(
            "agent-subjects",
            lambda: model.Approvals(
                provider=PROVIDER,
                identity_claim=self._text("oidc-identity-claim", "azp"),
                groups_claim=self._text("oidc-groups-claim", "groups"),
                agents=members["agent"],
                reviewers=members["reviewer"],
                admins=members["admin"],
                owners=owners,
                store=store,
                webhook=webhook,
                pending_for=pending,
                dedup_window=dedup,
                safety=safety,
                where=NOWHERE,
            ),
        )

    def _owners(self) -> tuple[tuple[str, str], ...]:
        found = []
        for pair in self._list("agent-owners"):
            agent, equals, person = pair.partition("=")
            if not equals or not agent or not person:
                self._refuse(
                    "agent-owners", "is no AGENT=PERSON", "such as aip-agent-1=alice@example.com", shown(pair)
                )
            found.append((agent, person))
        return tuple(found)

    def _webhook(self) -> model.Webhook | None:
        url, secret = self._text("webhook-url"), self._secret("webhook-secret")
        if bool(url) != bool(secret):
            missing = "webhook-secret" if url else "webhook-url"
            self._refuse(missing, "is not set", "the two belong together")
        if not url or secret is None:
            return None
        return self._made("webhook-url", lambda: model.Webhook(url=url, secret=secret))

    def _store(self) -> model.Secret | None:
        url = self._text("store")
        if url and not _agents.STORE.match(url):
            self._refuse("store", "is no URL of a database", _agents.STORE_HINT)
        return self._secret("store")

    def _duration(self, key: str) -> timedelta:
        try:
            found = values.duration(self._text(key, "24h"))
        except PydanticCustomError as error:
            self._refuse(key, error.message(), "such as 30m or 24h", shown(self._text(key)))
            return timedelta(hours=24)
        if found <= timedelta(0):
            self._refuse(key, "is no time", "such as 30m or 24h", shown(self._text(key)))
        return found

    def _address(self, key: str, usual: str = "") -> model.Address | None:
        given = self._text(key, usual)
        if not given:
            return None
        try:
            host, port = values.host_port(f"0.0.0.0{given}" if given.startswith(":") else given)  # noqa: S104
        except PydanticCustomError:
            self._refuse(key, "is not an address and a port", "such as :8080 or 127.0.0.1:8080", shown(given))
            return None
        return self._made(key, lambda: model.Address(host=host, port=port, where=self._where(key)))

    def _listener(self) -> model.Listener | None:
        usual = self._options.listen or self._given.get("listen") or LISTEN
        address, tls = self._address("addr", usual), self._tls()
        if address is None:
            return None
        console = bool(self._text("console-client-id"))
        return _agents.listener(address, tls, PROVIDER, console=console)

    def _session(self) -> model.Session | None:
        """How people log in at the console; None without a client for it."""
        if not self._text("console-client-id"):
            for key in (key for key in SETTINGS if key.startswith("console-") and self._text(key)):
                hint = "name the client that people log in through: console-client-id"
                self._refuse(key, "is set, and there is no console", hint)
            return None
        url = self._text("console-url")
        if not re.fullmatch(r"https?://[^\s/?#]+", url):
            hint = "the address that browsers use, such as https://agents.example.com, without a path"
            self._refuse(
                "console-url",
                "is not set" if not url else "is no such address",
                hint,
                shown(url) if url else "",
            )
        return self._made("console-url", lambda: self._session_at(url))

    def _session_at(self, url: str) -> model.Session:
        kept = self._text("console-sessions")
        if kept and kept != "cookie" and not kept.startswith(("redis://", "rediss://")):
            self._refuse(
                "console-sessions",
                "is no place for sessions",
                "cookie, or redis://HOST:PORT; or leave it out",
            )
        redis = kept if kept.startswith("redis") else ""
        return model.Session(
            cookie_name="wardgate-console",
            secure=not url.startswith("http://"),
            same_site=model.SameSite.LAX,
            redirection_url=url,
            scopes=tuple(self._text("console-scopes", "openid profile email").split()),
            store_url=self._secret("console-sessions") if redis else None,
            in_cookies=kept == "cookie",
            encryption_key=self._secret("console-encryption-key"),
            forward_authorization=False,
            # a person has the console open while they think; a stolen laptop should not
            idle=timedelta(hours=1),
        )

    def _secret(self, key: str) -> model.Secret | None:
        found = self._text(key)
        return model.Secret(found, f"${{{variable(key)}}}") if found else None

    def _tls(self) -> model.ServerTls | None:
        certificate, key = self._text("tls-certificate"), self._text("tls-key")
        if bool(certificate) != bool(key):
            self._refuse(
                "tls-key" if certificate else "tls-certificate", "is not set", "the two belong together"
            )
        return (
            model.ServerTls(certificate=certificate, key=key, minimum="1.2") if certificate and key else None
        )

    def _made(self, key: str, make: Callable[[], Made]) -> Made | None:
        try:
            return make()
        except ConfigError as error:
            where = self._where(key)
            self.problems += [
                replace(one, where=where) if one.where == NOWHERE else one for one in error.problems
            ]
            return None

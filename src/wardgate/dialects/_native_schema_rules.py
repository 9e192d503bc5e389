"""
The keys of rules in the native format: conditions, identity headers, credentials, routes, hosts.

Pydantic models: what may be written, and nothing about what becomes of it (`_native_rules`). The text under an
attribute is its description in the published schema and in the reference. Short forms are unions told apart by the
kind of value, so an error is about the form that was meant. A key without a value is refused before these are asked.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from wardgate.dialects import _native_values as values
from wardgate.dialects._native_types import (
    TEXT,
    ClaimPath,
    Duration,
    Filled,
    Flag,
    HostNames,
    Methods,
    RoutePath,
    Schema,
    Size,
    Text,
    Texts,
    one_of,
    read_by,
    several,
)
from wardgate.dialects._native_values import claim_value, refused
from wardgate.policy import Kind, Mode, Source


def _alias(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


class Keys(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=_alias, use_attribute_docstrings=True
    )


def shape(value: object) -> str:
    """What kind of value stands there; no key can have these names, so they never look like a place."""
    match value:
        case bool():
            return "<flag>"
        case str():
            return "<text>"
        case dict():
            return "<keys>"
        case list():
            return "<list>"
        case _:
            return "<other>"


def by_shape(takes: str) -> Discriminator:
    return Discriminator(shape, custom_error_type="value-type", custom_error_message=f"takes {takes}")


# --- Conditions ---------------------------------------------------------------------------------------------------


class ClientRole(Keys):
    """Keycloak's `resource_access.<client>.roles`."""

    client: Filled
    """The client whose role it is."""

    role: Text
    """The role's name."""


def _claim_values(value: object) -> tuple[str | int | bool, ...]:
    values = tuple(claim_value(item) for item in (value if isinstance(value, list) else [value]))
    if not values:
        raise refused("list-empty", "is an empty list: nobody could pass")
    return values


_VALUE: Final[Schema] = {"type": ["string", "integer", "boolean"]}
ClaimValues = Annotated[
    tuple[str | int | bool, ...],
    *read_by(_claim_values, {"anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]}),
]

HEADS: Final = ("role", "client-role", "group", "scope", "claim", "header", "not", "all", "any")
"""The keys that name a condition; exactly one stands in each."""

_TAKES: Final = {"claim": ("is", "matches"), "header": ("is",)}
_EXAMPLES: Final = {"claim": "{claim: tenant, is: acme}", "header": "{header: X-Env, is: [prod]}"}


class Condition(Keys):
    """One condition: exactly one of role, client-role, group, scope, claim, header, not, all, any."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [head]} for head in HEADS]},
    )

    role: Text | None = None
    """The caller has this realm role (`realm_access.roles`)."""

    client_role: ClientRole | None = None
    """The caller has this role of a client."""

    group: Text | None = None
    """`groups` holds this name, as it is: `/team` and `team` differ."""

    scope: Text | None = None
    """`scope` holds this name."""

    claim: ClaimPath | None = None
    """A claim, by its path; dots go inward. With `is` or `matches`."""

    header: Filled | None = None
    """A request header, with `is`: one of these values, letter case aside."""

    is_: ClaimValues | None = None
    """The value, or several of which one is enough; text, numbers and booleans differ."""

    matches: Text | None = None
    """An RE2 pattern that matches the claim's whole text."""

    not_: ConditionForm | None = None
    """The condition does not hold."""

    all_: Annotated[tuple[ConditionForm, ...], Field(min_length=1)] | None = None
    """Every one of these holds."""

    any_: Annotated[tuple[ConditionForm, ...], Field(min_length=1)] | None = None
    """At least one of these holds."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Condition:
        given = {_alias(name) for name in self.model_fields_set}
        heads = [head for head in HEADS if head in given]
        if len(heads) != 1:
            found = " and ".join(heads) or "none"
            hint = f"exactly one of {', '.join(HEADS)}; join several with all or any"
            raise refused(
                "condition-form", f"is not one condition: it has {found} of the keys that make one", hint
            )
        takes = _TAKES.get(heads[0], ())
        values = given & {"is", "matches"}
        if len(values) != min(len(takes), 1) or not values <= set(takes):
            wants = f"takes {' or '.join(takes)} beside it" if takes else "takes no other key"
            raise refused("condition-form", f"a condition on {heads[0]} {wants}", _EXAMPLES.get(heads[0], ""))
        return self

    @property
    def head(self) -> str:
        return next(_alias(name) for name in self.model_fields_set if _alias(name) in HEADS)


ConditionForm = Annotated[
    Annotated[Literal["authenticated"], Tag("<text>")] | Annotated[Condition, Tag("<keys>")],
    by_shape("the word authenticated, or a condition such as {role: admin}"),
]


# --- Routes ---------------------------------------------------------------------------------------------------------


class IdentityValue(Keys):
    """Where an identity header's value comes from: exactly one of claim and token."""

    claim: ClaimPath | None = None
    """The claim, by its path."""

    separator: Text = ","
    """What joins the values of a list."""

    from_: Annotated[Source, *one_of(Source)] = Source.ACCESS
    """Where a session's claim is read: its `access` token (default), its `id` token, or `userinfo`. A bearer token is its own access token, and has no others."""

    token: Annotated[Source | None, *read_by(values.token, {"enum": [True, False, "access", "id"]})] = None
    """The token itself: `true` (the bearer token, or the session's access token) or `id`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> IdentityValue:
        token = self.token is not None
        if (self.claim is None) != token or (token and self.model_fields_set & {"separator", "from_"}):
            hint = "write {claim: groups, separator: '|'}, or {token: true}"
            raise refused("identity-form", "takes either a claim or the token", hint)
        return self


class NamedIdentityValue(IdentityValue):
    """An identity header in a list: for a name that is given twice."""

    name: Filled
    """The header's name."""


_IdentityForm = Annotated[
    Annotated[ClaimPath, Tag("<text>")] | Annotated[IdentityValue, Tag("<keys>")],
    by_shape("the path of a claim, or {claim: …, separator: …, from: …}, or {token: true}"),
]

IdentityForms = dict[str, ClaimPath | IdentityValue] | tuple[NamedIdentityValue, ...]
"""What `IdentityHeaders` is when it has been read."""

IdentityHeaders = Annotated[
    Annotated[dict[str, _IdentityForm], Tag("<keys>")]
    | Annotated[tuple[NamedIdentityValue, ...], Tag("<list>")],
    by_shape("header names, each with a claim"),
]


class Pair(Keys):
    """One entry of a list of names and values: for a name that is given twice."""

    name: Text
    """The name."""

    value: Text
    """Its value."""


Pairs = Annotated[
    Annotated[dict[str, Text], Tag("<keys>")] | Annotated[tuple[Pair, ...], Tag("<list>")],
    by_shape("names, each with its value"),
]


class Accepted(Keys):
    """Which credentials are accepted, where a route says nothing else."""

    kinds: Annotated[tuple[Annotated[Kind, *one_of(Kind)], ...], *several({"enum": list(Kind)})] | None = None
    """`bearer` (Authorization), `session` (our cookie). Both, unless given."""

    providers: Texts | None = None
    """The providers whose tokens are accepted. All, unless given."""

    introspect: Flag | None = None
    """Whether the issuer is asked about every token, so that one that ended there is noticed. No, unless given."""


class Credentials(Accepted):
    """What a route does about credentials."""

    mode: Annotated[Mode, *one_of(Mode)] | None = None
    """`required`, or, on public routes: `ignored` (default), `optional` (a bad one is 401), `permissive`."""


_CredentialsForm = Annotated[
    Annotated[Annotated[Mode, *one_of(Mode)], Tag("<text>")] | Annotated[Credentials, Tag("<keys>")],
    by_shape("a mode, or keys"),
]

ACCESS: Final = ("public", "allow", "deny")
LISTS: Final = ("roles", "client-roles", "groups", "scopes")
"""Short for `allow`: any of each list, and all of the lists that are given. The order is theirs in the condition."""

_NonEmptyTexts = Annotated[tuple[Text, ...], *several(TEXT), Field(min_length=1)]


class Route(Keys):
    """
    Requests for a path, and who may make them.

    Exactly one of public, allow (or its short forms roles, client-roles, groups, scopes) and deny.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["public"], "properties": {"public": {"not": {"const": False}}}},
                {"required": ["allow"]},
                {"required": ["deny"]},
                {"anyOf": [{"required": [key]} for key in LISTS]},
            ]
        }
    )

    path: RoutePath
    """`/x` that path, `/x/**` it and everything below, `/x/*` only below, `/x*` whatever starts so; `{matches: PATTERN}` (RE2) after exact paths and before all others."""

    name: Filled | None = None
    """What decisions, logs and metrics call it; the methods and the path unless given."""

    methods: Methods | None = None
    """The methods that the route speaks for; every usual one unless given. Others are denied."""

    public: Flag = False
    """Open: no credential is asked for."""

    allow: ConditionForm | None = None
    """Open to those for whom the condition holds; `authenticated`: anyone with a valid credential."""

    roles: _NonEmptyTexts | None = None
    """Any of these realm roles."""

    client_roles: dict[str, _NonEmptyTexts] | None = None
    """Any of these roles, listed by client."""

    groups: _NonEmptyTexts | None = None
    """Any of these groups."""

    scopes: _NonEmptyTexts | None = None
    """Any of these scopes."""

    deny: Text | None = None
    """Closed to everyone; the text says why, for people."""

    upstream: Filled | None = None
    """The name of the upstream; the host's, or the only one, unless given."""

    credentials: _CredentialsForm | None = None
    """A mode (`optional`, `permissive`), or which kinds and providers are accepted here."""

    identity_headers: IdentityHeaders | None = None
    """Instead of the file's own `identity-headers`; `{}` is none."""

    body_limit: Size | None = None
    """A request body above this is 413; `limits.body` unless given."""

    websockets: Flag = True
    """Whether the connection may become a WebSocket."""

    timeout: Duration | None = None
    """How long the whole answer may take; no limit but the upstream's own unless given."""

    login_redirect: Flag | None = None
    """Whether a browser without a session is sent to the login, or gets 401; as the file says unless given."""

    forward_authorization: Flag | None = None
    """Whether the upstream gets the session's access token as `Authorization: Bearer`; as `session` says unless given."""

    require_grant: Flag = False
    """Each request must bring a grant of `approvals` for itself, which is spent by it."""


class Cors(Keys):
    """Cross-origin rules (Fetch standard)."""

    origins: Texts
    """Origins such as `https://app.example.com`, or `*`."""

    methods: Texts = ()
    """Methods that a preflight allows."""

    headers: Texts = ()
    """Request headers that a preflight allows."""

    exposed: Texts = ()
    """Response headers that scripts may read."""

    max_age: Duration | None = None
    """How long a browser may remember a preflight."""

    credentials: Flag = False
    """Whether cookies and authorization may be sent; never together with the origin `*`."""


def _off(value: object) -> Literal[False]:
    if value is False:
        return False
    raise refused("value-type", "takes keys, or false")


CorsForm = Annotated[
    Annotated[Literal[False], *read_by(_off, {"const": False}), Tag("<flag>")]
    | Annotated[Cors, Tag("<keys>")],
    by_shape("keys, or false"),
]


class Served(Keys):
    """What host names get."""

    routes: tuple[Route, ...] | None = None
    """The rules. The most specific path decides; what no route lists is denied."""

    upstream: Filled | None = None
    """The name of the upstream of every route that names none."""

    cors: CorsForm | None = None
    """Cross-origin rules."""

    fallback: Credentials | None = None
    """Which credentials make an unlisted path 403 instead of 401."""


class Host(Served):
    """The routes of some host names."""

    names: HostNames = ("*",)
    """`api.example.com`, `*.example.com`, or `*` (every name, unless given)."""

    routes: tuple[Route, ...]
    """The rules. The most specific path decides; what no route lists is denied."""

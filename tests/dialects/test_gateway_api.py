"""Manifests of a cluster: whose Gateways are served, and what one wrong object does to the others."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from wardgate import policy as model
from wardgate.dialects import Options, Reading, read
from wardgate.dialects._gateway_api_policies import NOBODYS_KEY
from wardgate.document import Document
from wardgate.verify.compact import decode_base64url

API = "gateway.networking.k8s.io"
OURS = "wardgate.dev/gateway-controller"


def an(
    kind: str, name: str, spec: dict[str, Any], namespace: str = "shop", version: str = f"{API}/v1"
) -> Document:
    metadata = {"name": name, "namespace": namespace}
    return Document(file=kind, data={"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})


def route(name: str, kind: str = "PathPrefix", namespace: str = "shop") -> Document:
    rules = [
        {"matches": [{"path": {"type": kind, "value": "/"}}], "backendRefs": [{"name": "app", "port": 80}]}
    ]
    spec = {
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": [f"{name}.test"],
        "rules": rules,
    }
    return an("HTTPRoute", name, spec, namespace)


def policy(name: str, issuer: str, target: str = "one") -> Document:
    provider = {"name": "p", "issuer": issuer, "remoteJWKS": {"uri": f"{issuer}/keys"}}
    targets = [{"group": API, "kind": "HTTPRoute", "name": target}]
    spec = {"targetRefs": targets, "jwt": {"providers": [provider]}}
    return an("SecurityPolicy", name, spec, version="gateway.envoyproxy.io/v1alpha1")


LISTENER = {
    "name": "http",
    "port": 8080,
    "protocol": "HTTP",
    "allowedRoutes": {"namespaces": {"from": "All"}},
}
BASE = [
    an("GatewayClass", "ours", {"controllerName": OURS}),
    an("GatewayClass", "theirs", {"controllerName": "example.com/x"}),
    an("Gateway", "public", {"gatewayClassName": "ours", "listeners": [LISTENER]}, "infra"),
    an(
        "Gateway",
        "theirs",
        {"gatewayClassName": "theirs", "listeners": [{**LISTENER, "port": 9000}]},
        "infra",
    ),
]
WHERE = {f"{namespace}/app:80": "127.0.0.1:9" for namespace in ("shop", "other", "grpc")}


def reading(*documents: Document, **options: Any) -> Reading:
    return read([*BASE, *documents], Options(resolve=WHERE, controller=OURS, **options), "gateway_api")


def accesses(found: Reading) -> dict[str, type]:
    assert found.policy is not None, found.problems
    return {one.name.partition("/0")[0]: type(one.access) for *_, one in found.policy.routes()}


def test_only_gateways_of_our_classes_are_served() -> None:
    found = reading(route("one"))
    assert found.policy is not None
    assert [one.address.port for one in found.policy.listeners] == [8080]
    assert {status.name.name for status in found.statuses} == {"ours", "public", "one"}


def test_without_a_gateway_nobody_is_served() -> None:
    found = read([], Options(controller=OURS), "gateway_api")
    assert found.policy is not None and not list(found.policy.routes())
    assert found.policy.listeners[0].address.host == "127.0.0.1"


def test_the_only_route_without_its_backend_is_closed_and_told() -> None:
    """Nobody else has an upstream that could be named in its place."""
    found = read([*BASE, route("one")], Options(controller=OURS), "gateway_api")
    assert accesses(found) == {"shop/one": model.Broken}
    (status,) = [one for one in found.statuses if one.name.name == "one"]
    assert ("ResolvedRefs", False, "BackendNotFound") in [
        (one.type, one.status, one.reason) for one in status.conditions
    ]


def test_one_wrong_route_closes_its_namespace_and_no_other() -> None:
    """What it is for cannot be told, so a wider route of its own could serve it; in files nothing would start."""
    found = reading(route("one"), route("wrong", "Glob"), route("far", namespace="other"))
    assert accesses(found) == {"shop/one": model.Broken, "other/far": model.Public}
    (status,) = [one for one in found.statuses if one.name.name == "one"]
    assert "HTTPRoute shop/wrong cannot be read" in json.dumps([one.message for one in status.conditions])
    files = read([*BASE, route("one"), route("wrong", "Glob")], Options(resolve=WHERE), "gateway_api")
    assert files.policy is None


@pytest.mark.parametrize(
    "issuer",
    [
        "http://127.0.0.1:8080/r",
        "http://127.1/r",
        "http://2130706433/r",
        "http://localhost/r",
        "http://id.localhost./r",
        "http://169.254.169.254/latest",
        "http://[::1]:80/r",
        "http://[::ffff:127.0.0.1]/r",
        "http://[fe80::1]/r",
        "http://0.0.0.0/r",
        "http://metadata.google.internal/r",
    ],
)
def test_issuers_at_addresses_of_the_machine_are_refused(issuer: str) -> None:
    closed = reading(route("one"), policy("inside", issuer), internal_issuers=False)
    assert accesses(closed) == {"shop/one": model.Broken}
    assert [one.code for one in closed.problems] == ["policy-internal"]
    assert accesses(reading(route("one"), policy("inside", issuer))) == {"shop/one": model.Rule}


def test_issuers_elsewhere_are_not() -> None:
    found = reading(route("one"), policy("good", "https://id.example.com/r"), internal_issuers=False)
    assert accesses(found) == {"shop/one": model.Rule}


def test_names_that_were_looked_for_are_told() -> None:
    """Only their changes are of interest: a cluster has thousands of ConfigMaps."""
    found = read([*BASE, route("one")], Options(controller=OURS), "gateway_api")
    assert ("Service", "shop", "app") in {(one.kind, one.namespace, one.name) for one in found.sought}


KEY = "0123456789abcdef0123456789abcdef"


def login() -> list[Document]:
    targets = [{"group": API, "kind": "HTTPRoute", "name": "one"}]
    oidc = {"provider": {"issuer": "https://id.test/r"}, "clientID": "c", "clientSecret": {"name": "client"}}
    secret = an("Secret", "client", {}, version="v1")
    secret.data["stringData"] = {"client-secret": "x"}
    spec = {"targetRefs": targets, "oidc": {**oidc, "redirectURL": "https://a.test/cb"}}
    return [
        route("one"),
        an("SecurityPolicy", "pages", spec, version="gateway.envoyproxy.io/v1alpha1"),
        secret,
    ]


def test_the_environment_says_where_sessions_are_kept() -> None:
    """The same place and key for every replica; neither is printed."""
    environ = {"WARDGATE_SESSION_STORE": "redis://:pa55@r:6379/0", "WARDGATE_SESSION_KEY": KEY}
    found = reading(*login(), environ=environ)
    assert found.policy is not None and found.policy.session is not None, found.problems
    store = found.policy.session.store_url
    assert store is not None and store.reveal() == environ["WARDGATE_SESSION_STORE"]
    assert "pa55" not in repr(found.policy) and KEY not in repr(found.policy)
    cookies = reading(*login(), environ={"WARDGATE_SESSION_STORE": "cookie"})
    assert cookies.policy is not None and cookies.policy.session is not None
    assert cookies.policy.session.in_cookies


@pytest.mark.parametrize(("name", "value"), [("STORE", "memcached://pa55"), ("KEY", "pa55")])
def test_a_place_for_sessions_that_is_none_is_refused(name: str, value: str) -> None:
    found = reading(*login(), environ={f"WARDGATE_SESSION_{name}": value})
    assert found.policy is None and [one.code for one in found.problems] == ["manifest-store"]
    assert "pa55" not in str(found.problems[0])


def test_a_secret_of_another_namespace_needs_a_grant() -> None:
    """A ReferenceGrant beside the Secret lets the policies of a namespace name it."""
    routes, pages, secret = login()
    pages.data["spec"]["oidc"]["clientSecret"]["namespace"] = secret.data["metadata"]["namespace"] = "vault"
    given = {"group": "gateway.envoyproxy.io", "kind": "SecurityPolicy", "namespace": "shop"}
    grant = {"from": [given], "to": [{"group": "", "kind": "Secret"}]}
    granted = an("ReferenceGrant", "secrets", grant, version=f"{API}/v1beta1", namespace="vault")
    assert accesses(reading(routes, pages, secret, granted)) == {"shop/one": model.Rule}
    refused = reading(routes, pages, secret)
    assert accesses(refused) == {"shop/one": model.Broken}
    (status,) = [one for one in refused.statuses if one.name.name == "pages"]
    name = pages.data["spec"]["oidc"]["clientSecret"]["name"]
    assert [one.message for one in status.conditions] == [
        f"OIDC: ref to Secret vault/{name} not permitted by any ReferenceGrant."
    ]


def test_names_that_could_be_taken_for_each_other() -> None:
    """Whatever people call their rules, routes and namespaces: nobody's objects stop another's."""
    numbered = route("one")
    rules = numbered.data["spec"]["rules"]
    paths = [{"path": {"value": f"/{n}"}} for n in range(4)]
    numbered.data["spec"]["rules"] = [
        {**rules[0], "name": "1", "matches": [paths[0]]},
        {**rules[0], "matches": [paths[1]]},
        {**rules[0], "name": "twice", "matches": [paths[2]]},
        {**rules[0], "name": "twice", "matches": [paths[3]]},
    ]
    grpc = an(
        "GRPCRoute", "app", {**route("two").data["spec"], "rules": [{"backendRefs": rules[0]["backendRefs"]}]}
    )
    alike = route("shop.app", namespace="grpc")
    found = reading(numbered, grpc, alike)
    assert found.policy is not None, found.problems
    assert len({one.name for _, _, one in found.policy.routes()}) == 6


def labelled(document: Document, **labels: str) -> Document:
    document.data["metadata"]["labels"] = labels
    return document


def selecting(**targets: Any) -> Document:
    found = policy("chosen", "https://id.example.com/r")
    del found.data["spec"]["targetRefs"]
    found.data["spec"].update(targets)
    return found


def test_a_policy_chooses_its_routes_by_label() -> None:
    """Of its own namespace; those that it names too are not meant twice."""
    routes = [labelled(route("one"), app="shop", tier="web"), labelled(route("two"), app="other")]
    routes.append(labelled(route("far", namespace="other"), app="shop"))
    chosen = selecting(targetSelectors=[{"group": API, "kind": "HTTPRoute", "matchLabels": {"app": "shop"}}])
    found = reading(*routes, chosen)
    assert accesses(found) == {"shop/one": model.Rule, "shop/two": model.Public, "other/far": model.Public}
    chosen.data["spec"]["targetRefs"] = [
        {"group": API, "kind": "HTTPRoute", "name": name} for name in ("one", "two")
    ]
    assert accesses(reading(*routes, chosen))["shop/two"] is model.Rule
    (status,) = [one for one in reading(*routes, chosen).statuses if one.name.name == "chosen"]
    assert [(one.type, one.status) for one in status.conditions] == [("Accepted", True)]


@pytest.mark.parametrize(
    ("namespaces", "chosen"),
    [
        ({"from": "All"}, {"shop/one", "other/far"}),
        ({"from": "Same"}, {"shop/one"}),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "blue"}}}, {"other/far"}),
    ],
)
def test_a_policy_chooses_routes_of_namespaces_that_permit_it(
    namespaces: dict[str, Any], chosen: set[str]
) -> None:
    """A ReferenceGrant where the route is says so; without one nothing is attached, and `check` says that."""
    routes = [route("one"), route("far", namespace="other"), route("hidden", namespace="silent")]
    spaces = [
        labelled(an("Namespace", name, {}, version="v1", namespace="default"), team="blue")
        for name in ("other", "silent")
    ]
    given = {"group": "gateway.envoyproxy.io", "kind": "SecurityPolicy", "namespace": "shop"}
    grant = {"from": [given], "to": [{"group": API, "kind": "HTTPRoute"}]}
    told = selecting(targetSelectors=[{"group": API, "kind": "HTTPRoute", "namespaces": namespaces}])
    granted = an("ReferenceGrant", "policies", grant, version=f"{API}/v1beta1", namespace="other")
    found = reading(*routes, *spaces, granted, told)
    assert {name for name, access in accesses(found).items() if access is model.Rule} == chosen
    left = [note for note in found.notes if "silent/hidden is selected, and not attached" in note]
    assert len(left) == (namespaces["from"] != "Same")


@pytest.mark.parametrize(
    ("operator", "values", "chosen"),
    [
        ("In", ["shop", "blog"], {"one"}),
        ("NotIn", ["shop"], {"two", "bare"}),
        ("Exists", [], {"one", "two"}),
        ("DoesNotExist", [], {"bare"}),
    ],
)
def test_a_policy_chooses_by_expression(operator: str, values: list[str], chosen: set[str]) -> None:
    """An absent label is in no list of values."""
    routes = [labelled(route("one"), app="shop"), labelled(route("two"), app="other"), route("bare")]
    expression = {"key": "app", "operator": operator, **({"values": values} if values else {})}
    told = selecting(targetSelectors=[{"group": API, "kind": "HTTPRoute", "matchExpressions": [expression]}])
    found = accesses(reading(*routes, told))
    assert {name for name, access in found.items() if access is model.Rule} == {
        f"shop/{one}" for one in chosen
    }


@pytest.mark.parametrize(
    "selector",
    [
        {"kind": "HTTPRoute", "matchExpressions": [{"key": "app", "operator": "Like"}]},
        {"kind": "HTTPRoute", "matchExpressions": [{"key": "app", "operator": "In"}]},
        {"kind": "HTTPRoute", "namespaces": {"from": "Selector"}},
        {"kind": "HTTPRoute", "namespaces": {"from": "Everywhere"}},
        {"kind": "HTTPRoute", "matchLabels": {"app": 7}},
        {"kind": "HTTPRoute", "matchLabels": "app"},
        {"kind": "TCPRoute"},
    ],
)
def test_a_selector_that_cannot_be_read_closes_the_namespace(selector: dict[str, Any]) -> None:
    chosen = selecting(targetSelectors=[{"group": API, **selector}])
    assert accesses(reading(route("one"), chosen)) == {"shop/one": model.Broken}
    assert read([*BASE, route("one"), chosen], Options(resolve=WHERE), "gateway_api").policy is None


def test_the_old_target_ref_holds_and_is_warned_of() -> None:
    old = selecting(targetRef={"group": API, "kind": "HTTPRoute", "name": "one"})
    found = reading(route("one"), old)
    assert accesses(found) == {"shop/one": model.Rule}
    (status,) = [one for one in found.statuses if one.name.name == "chosen"]
    told = {one.type: one.reason for one in status.conditions}
    assert told == {"Warning": "DeprecatedField", "Accepted": "Accepted"}


@pytest.mark.parametrize("nothing", [{}, {"targetRefs": None}, {"targetSelectors": None}])
def test_a_policy_that_names_nothing_closes_the_namespace(nothing: dict[str, Any]) -> None:
    """What it was to protect would be open."""
    assert accesses(reading(route("one"), selecting(**nothing))) == {"shop/one": model.Broken}


def test_another_controllers_login_is_none_of_ours() -> None:
    """One client is served: that of a policy on routes that are served here."""
    _, theirs, secret = login()
    theirs.data["metadata"]["name"] = "a-theirs"
    theirs.data["spec"] = json.loads(json.dumps(theirs.data["spec"]))
    theirs.data["spec"]["oidc"]["clientID"] = "another"
    theirs.data["spec"]["targetRefs"][0]["name"] = "elsewhere"
    elsewhere = route("elsewhere")
    elsewhere.data["spec"]["parentRefs"] = [{"name": "theirs", "namespace": "infra"}]
    found = reading(*login()[:2], theirs, elsewhere, secret)
    assert found.problems == () and found.policy is not None
    assert accesses(found) == {"shop/one": model.Rule}
    assert [one.client_id for one in found.policy.providers] == ["c"]


def test_nobody_has_the_key_of_a_provider_without_keys() -> None:
    """It is made of a hash, so that nobody began with its private half, and it is a point of the curve."""
    x, y = (int.from_bytes(decode_base64url(NOBODYS_KEY[name]), "big") for name in ("x", "y"))
    assert x == int.from_bytes(hashlib.sha256(b"wardgate nobody 0").digest(), "big")
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()

"""
A gateway on a real Kubernetes API, with the rights of `deploy/kubernetes/rbac.yaml` and no others: objects are made, changed
and deleted, and the traffic and the statuses follow; without the API server what is in force stays.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.echo import Echo
from tests.holding.certificates import Authority
from tests.holding.cluster import CONTROLLER, DEPLOY, USER, InCluster, conditions, deployed
from tests.login_page import demo_realm, sent
from tests.parts.kubernetes import Kubernetes, Object, Refused
from tests.parts.loopback import free_port
from tests.sending import Answer, send
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer
from wardgate.metrics import METRICS
from wardgate.verify import read_unverified

pytestmark = pytest.mark.timeout(300)

API: Final = "gateway.networking.k8s.io"
SECONDS: Final = 20.0


def gateway_api(kind: str, name: str, spec: Object, namespace: str = "shop") -> Object:
    metadata = {"name": name} if kind == "GatewayClass" else {"name": name, "namespace": namespace}
    version = "v1beta1" if kind == "ReferenceGrant" else "v1"
    return {"apiVersion": f"{API}/{version}", "kind": kind, "metadata": metadata, "spec": spec}


def core(kind: str, name: str, namespace: str = "shop", **content: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def route(called: str, host: str, namespace: str = "shop", **backend: Any) -> Object:
    spec = {
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": [host],
        "rules": [{"backendRefs": [{"name": "app", "port": 80} | backend]}],
    }
    return gateway_api("HTTPRoute", called, spec, namespace)


def policy(name: str, target: str, **spec: Any) -> Object:
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"targetRefs": [{"group": API, "kind": "HTTPRoute", "name": target}], **spec},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    cluster: Kubernetes
    gateway: InCluster
    idp: IdpServer

    def status(self, host: str, *headers: tuple[str, str], path: str = "/") -> int:
        """0 as long as nobody listens."""
        try:
            return self.ask(host, *headers, path=path).status
        except ConnectionRefusedError:
            return 0

    def ask(self, host: str, *headers: tuple[str, str], path: str = "/") -> Answer:
        return send(self.gateway.port, "GET", path, [("Host", host), ("Connection", "close"), *headers])

    def until(self, holds: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        wait_for(holds, f"{what}:\n{self.gateway.errors()[-3000:]}", seconds)

    def becomes(self, host: str, status: int, *headers: tuple[str, str]) -> None:
        self.until(lambda: self.status(host, *headers) == status, f"{host} answers {status}")

    def says(self, one: Object, kind: str, status: str, reason: str) -> Object:
        """Wait for a condition; the object with it."""

        def there() -> bool:
            return conditions(self.cluster.get(one)).get(kind) == (status, reason)

        try:
            self.until(there, f"{one['kind']} is {kind} {status} {reason}")
        except AssertionError as error:
            raise AssertionError(json.dumps(self.cluster.get(one).get("status"), indent=1)) from error
        return self.cluster.get(one)

    def jwt(self) -> Object:
        provider = {
            "name": "idp",
            "issuer": self.idp.issuer,
            "remoteJWKS": {"uri": f"{self.idp.issuer}/protocol/openid-connect/certs"},
        }
        return {"providers": [provider]}

    def bearer(self) -> tuple[str, str]:
        return "Authorization", f"Bearer {self.idp.token('user')}"

    @contextlib.contextmanager
    def there(self, *objects: Object) -> Iterator[None]:
        """While this lasts, these exist."""
        self.cluster.apply(*objects)
        try:
            yield
        finally:
            for one in reversed(objects):
                with contextlib.suppress(Refused):
                    self.cluster.delete(one)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kubernetes]:
    with Kubernetes.start([USER, "stranger"]) as server:
        server.apply_folder(DEPLOY / "crds")
        subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}
        for one in deployed("rbac.yaml"):
            server.apply({**one, "subjects": [subject]} if "subjects" in one else one)
        for name in ("infra", "shop", "other"):
            server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield server


def realm(folder: Path) -> Path:
    """The demo's, with two more clients."""
    content = demo_realm()
    gateway = content["clients"][0]
    content["clients"] += [
        {**gateway, "clientId": name, "secret": f"s3cr3t-{name}", "redirectUris": ["*"], "attributes": {}}
        for name in ("one", "two")
    ]
    file = folder / "realm.json"
    file.write_text(json.dumps(content), "utf-8")
    return file


class ToLoopback(httpx.HTTPTransport):
    """As if every name were this machine's."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        )


@pytest.fixture(scope="module")
def site(cluster: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Gateway for routes of all namespaces, an application and an issuer."""
    listener = {
        "name": "http",
        "port": 80,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    with Echo() as echo, IdpServer(realm(tmp_path_factory.mktemp("realm"))) as idp:
        place = f"127.0.0.1:{echo.port}"
        resolve = {"shop/app:80": place, "other/app:80": place}
        folder = tmp_path_factory.mktemp("cluster")
        with InCluster(folder, cluster, resolve, "--address", "127.0.0.1") as gateway:
            cluster.apply(
                gateway_api("GatewayClass", "wardgate", {"controllerName": CONTROLLER}),
                gateway_api("GatewayClass", "others", {"controllerName": "example.com/other"}),
                gateway_api(
                    "Gateway", "public", {"gatewayClassName": "wardgate", "listeners": [listener]}, "infra"
                ),
                core("Service", "app", spec={"ports": [{"port": 80}]}),
                core("Service", "app", "other", spec={"ports": [{"port": 80}]}),
                route("open", "open.test"),
            )
            found = Site(cluster=cluster, gateway=gateway, idp=idp)
            found.becomes("open.test", 200)
            yield found


def test_a_gateway_without_gateways_waits_for_one(site: Site) -> None:
    """It was ready before there was any, and said so."""
    assert site.gateway.said("ready")


def test_statuses_of_what_is_served(site: Site) -> None:
    gateway = gateway_api("Gateway", "public", {}, "infra")
    site.says(gateway_api("GatewayClass", "wardgate", {}), "Accepted", "True", "Accepted")
    told = site.says(gateway, "Programmed", "True", "Programmed")["status"]
    assert told["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]
    (listener,) = told["listeners"]
    assert listener["name"] == "http"
    site.until(
        lambda: site.cluster.get(gateway)["status"]["listeners"][0]["attachedRoutes"] >= 1,
        "a route is counted",
    )
    found = site.says(route("open", "open.test"), "ResolvedRefs", "True", "ResolvedRefs")
    (parent,) = found["status"]["parents"]
    assert parent["parentRef"] == {"group": API, "kind": "Gateway", "name": "public", "namespace": "infra"}
    assert all(one["observedGeneration"] == found["metadata"]["generation"] for one in parent["conditions"])


def test_another_controllers_gateway_is_left_alone(site: Site) -> None:
    theirs = gateway_api(
        "Gateway",
        "theirs",
        {"gatewayClassName": "others", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    )
    attached = route("theirs", "theirs.test")
    attached["spec"]["parentRefs"] = [{"name": "theirs"}]
    attached["spec"]["rules"][0]["backendRefs"][0]["name"] = "absent"
    with site.there(
        theirs,
        attached,
        policy("theirs", "theirs", basicAuth={"users": {"name": "x"}}),
        route("own", "own.test"),
    ):
        site.becomes("own.test", 200)
        assert site.status("theirs.test") == 404
        time.sleep(0.5)
        for one in (theirs, attached, policy("theirs", "theirs")):
            assert CONTROLLER not in json.dumps(site.cluster.get(one).get("status", {}))


def test_a_policy_is_made_changed_and_deleted(site: Site) -> None:
    with site.there(route("api", "api.test")):
        site.becomes("api.test", 200)
        with site.there(policy("api", "api", jwt=site.jwt())):
            site.becomes("api.test", 401)
            site.becomes("api.test", 200, site.bearer())
            found = site.says(policy("api", "api"), "Accepted", "True", "Accepted")
            (ancestor,) = found["status"]["ancestors"]
            assert ancestor["ancestorRef"]["name"] == "public"
            site.cluster.apply(policy("api", "api", jwt={**site.jwt(), "optional": True}))
            site.becomes("api.test", 200)
            assert site.status("api.test", ("Authorization", "Bearer wrong")) == 401
        site.becomes("api.test", 200)
    site.becomes("api.test", 404)


def test_a_route_is_never_open_before_its_policy(site: Site) -> None:
    """The policy was there first: however the watches race, no request gets through."""
    for number in range(5):
        host = f"raced{number}.test"
        with site.there(
            policy(f"raced{number}", f"raced{number}", jwt=site.jwt()), route(f"raced{number}", host)
        ):
            seen = set()
            deadline = time.monotonic() + SECONDS
            while 401 not in seen and time.monotonic() < deadline:
                seen.add(site.status(host))
            assert seen <= {404, 401, 503} and 401 in seen


def test_a_route_is_never_open_after_its_policy(site: Site) -> None:
    """Deleted one after the other, the route first, as `kubectl delete -f` does: no request passes in between."""
    seen: list[int] = []
    for number in range(5):
        both = route(f"last{number}", "last.test"), policy(f"last{number}", f"last{number}", jwt=site.jwt())
        site.cluster.apply(*reversed(both))
        site.becomes("last.test", 401)
        for one in both:
            site.cluster.delete(one)
        while not seen or seen[-1] != 404:
            seen.append(site.status("last.test"))
        seen.append(401)
    assert set(seen) == {401, 404}


def test_of_two_policies_for_one_route_the_older_holds(site: Site) -> None:
    with site.there(route("twice", "twice.test"), policy("b-first", "twice", jwt=site.jwt())):
        site.becomes("twice.test", 401)
        time.sleep(1.1)  # creation times have seconds
        with site.there(policy("a-second", "twice", jwt={**site.jwt(), "optional": True})):
            found = site.says(policy("a-second", "twice"), "Accepted", "False", "Conflicted")
            (condition,) = found["status"]["ancestors"][0]["conditions"]
            words = "Unable to target HTTPRoute twice, another SecurityPolicy has already attached to it"
            assert condition["message"] == words
            assert site.status("twice.test") == 401
            site.cluster.delete(policy("b-first", "twice"))
            site.says(policy("a-second", "twice"), "Accepted", "True", "Accepted")
            site.becomes("twice.test", 200)


def test_a_secret_that_is_missing_comes_later(site: Site) -> None:
    """Its routes answer 500 until it is there; the status and an Event say why, without the Secret's content."""
    oidc = {
        "provider": {"issuer": site.idp.issuer},
        "clientID": "demo",
        "clientSecret": {"name": "client"},
        "redirectURL": f"http://127.0.0.1:{site.gateway.port}/oauth2/callback",
    }
    told = policy("pages", "pages", oidc=oidc)
    with site.there(route("pages", "pages.test"), told):
        site.becomes("pages.test", 500)
        found = site.says(told, "Accepted", "False", "Invalid")
        message = found["status"]["ancestors"][0]["conditions"][0]["message"]
        assert "OIDC: secret shop/client does not exist." in message
        events = site.cluster.ask("GET", "/apis/events.k8s.io/v1/namespaces/shop/events")["items"]
        (event,) = [one for one in events if one["regarding"]["name"] == "pages"]
        assert event["reason"] == "Invalid" and "secret shop/client does not exist" in event["note"]
        with site.there(core("Secret", "client", stringData={"client-secret": "s3cr3t-value"})):
            site.says(told, "Accepted", "True", "Accepted")
            site.until(lambda: site.status("pages.test", ("Accept", "text/html")) in (302, 303), "a login")
        site.becomes("pages.test", 500)
    assert "s3cr3t-value" not in site.gateway.errors()
    assert "s3cr3t-value" not in json.dumps(
        site.cluster.ask("GET", "/apis/events.k8s.io/v1/namespaces/shop/events")
    )


def test_an_https_listener_waits_for_its_secret(site: Site) -> None:
    """Until the certificate is there nobody listens, and the listener says why; the key is told to nobody."""
    port, pair = free_port(), Authority("a cluster").pair("tls.test")
    listener = {
        "name": "https",
        "port": port,
        "protocol": "HTTPS",
        "allowedRoutes": {
            "namespaces": {"from": "Selector", "selector": {"matchLabels": {"tier": "public"}}}
        },
        "tls": {"certificateRefs": [{"name": "tls"}]},
    }
    secure = gateway_api(
        "Gateway", "secure", {"gatewayClassName": "wardgate", "listeners": [listener]}, "infra"
    )
    onto = route("tls", "tls.test")
    onto["spec"]["parentRefs"] = [{"name": "secure", "namespace": "infra"}]
    coded = {
        "tls.crt": base64.b64encode(pair.certificate).decode(),
        "tls.key": base64.b64encode(pair.key).decode(),
    }
    certificate = core("Secret", "tls", "infra", type="kubernetes.io/tls", data=coded)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    labelled = {**namespace, "metadata": {"name": "shop", "labels": {"tier": "public"}}}

    def resolved() -> tuple[str, str]:
        (found,) = site.cluster.get(secure)["status"]["listeners"]
        (said,) = [one for one in found["conditions"] if one["type"] == "ResolvedRefs"]
        return said["status"], said["reason"]

    with site.there(secure, onto):
        site.says(secure, "Programmed", "False", "Invalid")
        assert resolved() == ("False", "InvalidCertificateRef")
        with site.there(certificate):
            site.says(secure, "Programmed", "True", "Programmed")
            assert resolved() == ("True", "ResolvedRefs")
            site.says(onto, "Accepted", "False", "NotAllowedByListeners")
            site.cluster.apply(labelled)
            site.says(onto, "Accepted", "True", "Accepted")
            assert _over_tls(port, "tls.test").startswith(b"HTTP/1.1 200")
            site.cluster.apply(namespace)
            site.says(onto, "Accepted", "False", "NotAllowedByListeners")
        site.says(secure, "Programmed", "False", "Invalid")
    assert pair.key.decode().splitlines()[1] not in site.gateway.errors()


def _over_tls(port: int, host: str) -> bytes:
    """The head of the answer; the certificate is not what is looked at."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(65536)


def test_a_grant_for_a_service_of_another_namespace(site: Site) -> None:
    grant = gateway_api(
        "ReferenceGrant",
        "shop",
        {
            "from": [{"group": API, "kind": "HTTPRoute", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Service"}],
        },
        "other",
    )
    crossing = route("crossing", "crossing.test")
    crossing["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "other"
    with site.there(crossing):
        site.becomes("crossing.test", 500)
        site.says(crossing, "ResolvedRefs", "False", "RefNotPermitted")
        with site.there(grant):
            site.becomes("crossing.test", 200)
            site.says(crossing, "ResolvedRefs", "True", "ResolvedRefs")
        site.becomes("crossing.test", 500)


def test_a_service_is_spoken_to_as_its_policy_says(site: Site) -> None:
    """The application speaks no TLS: while it is asked to, nothing reaches it; without the certificates nobody tries."""
    told = gateway_api(
        "BackendTLSPolicy",
        "app",
        {
            "targetRefs": [{"group": "", "kind": "Service", "name": "app"}],
            "validation": {
                "hostname": "app.test",
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "authorities"}],
            },
        },
    )
    authorities = core("ConfigMap", "authorities", data={"ca.crt": Authority("a cluster").pem.decode()})
    with site.there(route("spoken", "spoken.test")):
        site.becomes("spoken.test", 200)
        with site.there(told):
            site.becomes("spoken.test", 500)
            site.says(told, "Accepted", "False", "NoValidCACertificate")
            with site.there(authorities):
                site.becomes("spoken.test", 502)
                site.says(told, "Accepted", "True", "Accepted")
        site.becomes("spoken.test", 200)


def test_a_target_that_is_deleted(site: Site) -> None:
    told = policy("lonely", "lonely", jwt=site.jwt())
    with site.there(route("lonely", "lonely.test"), told):
        site.says(told, "Accepted", "True", "Accepted")
        site.cluster.delete(route("lonely", "lonely.test"))
        site.says(told, "Accepted", "False", "TargetNotFound")
        site.becomes("lonely.test", 404)


def test_a_service_that_is_deleted(site: Site) -> None:
    """`--resolve` says where it is, so another name is used here: one that nobody resolves."""
    with site.there(route("gone", "gone.test", name="gone")):
        site.says(route("gone", "gone.test"), "ResolvedRefs", "False", "BackendNotFound")
        site.becomes("gone.test", 500)


def test_wrong_policies_are_refused_by_the_crds(site: Site) -> None:
    """What they mean is judged before anything runs."""
    wrong = policy("wrong", "open", jwt={**site.jwt(), "optional": True, "failOpen": True})
    with pytest.raises(Refused, match="optional and failOpen"):
        site.cluster.apply(wrong)
    nowhere = policy("wrong", "open", jwt=site.jwt())
    del nowhere["spec"]["targetRefs"]
    with pytest.raises(Refused, match="either targetRef or targetRefs must be used"):
        site.cluster.apply(nowhere)


def test_keys_of_clients_follow_their_secret(site: Site) -> None:
    """Closed without it, then open to who has a key of it; a key that is replaced is refused at once."""
    extract = {"credentialRefs": [{"name": "keys"}], "extractFrom": [{"headers": ["x-api-key"]}]}
    told = policy("keyed", "keyed", apiKeyAuth=extract)
    with site.there(route("keyed", "keyed.test"), told):
        site.says(told, "Accepted", "False", "Invalid")
        site.becomes("keyed.test", 500, ("X-Api-Key", "first-key"))
        with site.there(core("Secret", "keys", stringData={"red": "first-key"})):
            site.says(told, "Accepted", "True", "Accepted")
            site.becomes("keyed.test", 200, ("X-Api-Key", "first-key"))
            assert site.status("keyed.test") == 401
            site.cluster.apply(core("Secret", "keys", stringData={"red": "second-key"}))
            site.becomes("keyed.test", 200, ("X-Api-Key", "second-key"))
            assert site.status("keyed.test", ("X-Api-Key", "first-key")) == 401
        site.becomes("keyed.test", 500, ("X-Api-Key", "second-key"))


PAGE: Final = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def test_policies_of_several_clients(site: Site) -> None:
    """Each sends people to log in as its own client, in one cluster; one password is enough, and the sessions are two."""
    names, port = ("one", "two"), site.gateway.port
    secrets = [core("Secret", name, stringData={"client-secret": f"s3cr3t-{name}"}) for name in names]
    objects = []
    for name in names:
        oidc = {
            "provider": {"issuer": site.idp.issuer},
            "clientID": name,
            "clientSecret": {"name": name},
            "redirectURL": f"http://{name}.test:{port}/oauth2/callback",
            "forwardAccessToken": True,
        }
        objects += [route(f"app-{name}", f"{name}.test"), policy(f"app-{name}", f"app-{name}", oidc=oidc)]
    with (
        site.there(*secrets, *objects),
        httpx.Client(transport=ToLoopback(), headers=PAGE, timeout=20, follow_redirects=True) as browser,
    ):
        for name in names:
            site.says(policy(f"app-{name}", f"app-{name}"), "Accepted", "True", "Accepted")
            site.becomes(f"{name}.test", 303, *PAGE.items())
            location = site.ask(f"{name}.test", *PAGE.items()).header("location") or ""
            assert location.startswith(site.idp.issuer) and f"client_id={name}&" in location
        form = browser.get(f"http://one.test:{port}/start?a=1")
        landed = [
            sent(browser, form),
            browser.get(f"http://two.test:{port}/start?a=1"),
        ]
        for name, answer in zip(names, landed, strict=True):
            assert (answer.status_code, str(answer.url)) == (200, f"http://{name}.test:{port}/start?a=1")
            received = {key.lower(): value for key, value in answer.json()["headers"]}
            token = received["authorization"].removeprefix("Bearer ")
            assert read_unverified(token).claims["azp"] == name
            assert "cookie" not in received
        held = {(cookie.domain, cookie.name) for cookie in browser.cookies.jar if "session" in cookie.name}
        assert len({name for _, name in held}) == 2, held
        # other policies come and go: nobody has to log in again
        with site.there(route("beside", "beside.test"), policy("beside", "beside", jwt=site.jwt())):
            site.becomes("beside.test", 401)
            browser.follow_redirects = False
            assert [browser.get(f"http://{name}.test:{port}/x").status_code for name in names] == [200, 200]


def test_what_is_not_enforced_closes_its_route_and_is_said(site: Site) -> None:
    told = policy("unread", "unread", jwt=site.jwt(), csrf={"shadowFraction": {"numerator": 50}})
    with site.there(route("unread", "unread.test"), told):
        found = site.says(told, "Accepted", "False", "Invalid")
        assert "spec.csrf.shadowFraction is not enforced here" in json.dumps(found["status"])
        site.becomes("unread.test", 500, site.bearer())


def test_statuses_are_written_only_when_they_change(site: Site) -> None:
    """Another controller's entry stays, and nobody writes for ever."""
    with site.there(route("shared", "shared.test")):
        found = site.says(route("shared", "shared.test"), "Accepted", "True", "Accepted")
        theirs = {
            "parentRef": {"name": "elsewhere"},
            "controllerName": "example.com/other",
            "conditions": [{**found["status"]["parents"][0]["conditions"][0], "type": "Theirs"}],
        }
        path = f"{site.cluster.path(found)}/status"
        status = {"status": {"parents": [*found["status"]["parents"], theirs]}}
        site.cluster.ask("PATCH", path, status, "application/merge-patch+json")
        site.cluster.apply(route("shared", "shared2.test"))
        site.becomes("shared2.test", 200)
        site.until(
            lambda: (
                site.cluster.get(found)["status"]["parents"][-1]["conditions"][0]["observedGeneration"] == 2
            ),
            "the status follows",
        )
        now = site.cluster.get(found)
        assert [one["controllerName"] for one in now["status"]["parents"]] == [
            "example.com/other",
            CONTROLLER,
        ]
        time.sleep(2.0)
        assert site.cluster.get(found)["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"]


def test_no_variable_is_filled_in(site: Site) -> None:
    told = policy("variable", "variable", jwt=site.jwt())
    told["spec"]["jwt"]["providers"][0]["issuer"] = "${HOME}"
    with site.there(route("variable", "variable.test"), told):
        site.says(told, "Accepted", "False", "Invalid")
        site.becomes("variable.test", 500)


def test_without_the_api_server_what_is_in_force_stays(site: Site) -> None:
    """A minute without: no request fails. Afterwards changes are seen again, without a restart."""
    with site.there(route("steady", "steady.test"), policy("steady", "steady", jwt=site.jwt())):
        site.becomes("steady.test", 401)
        site.cluster.stop_api()
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                assert site.status("steady.test") == 401
                assert site.status("steady.test", site.bearer()) == 200
                assert site.status("open.test") == 200
                time.sleep(0.2)
        finally:
            site.cluster.restart()
        site.cluster.apply(policy("steady", "steady", jwt={**site.jwt(), "optional": True}))
        site.becomes("steady.test", 200)
    site.becomes("steady.test", 404)


def test_figures(site: Site) -> None:
    """Those of the cluster, all of them, beside the others."""

    def text() -> str:
        told = send(site.gateway.admin_port, "GET", "/metrics", [("Host", "a"), ("Connection", "close")])
        return told.body.decode()

    # the lease was lost while the API server was away, and is asked for every five seconds
    site.until(lambda: "wardgate_kubernetes_leader 1.0" in text(), "it leads")
    found = text()
    served = set(re.findall(r"^# HELP (\S+) ", found, re.MULTILINE))
    of_agents = re.compile("agent_requests|webhook")
    assert served == {metric.name for metric in METRICS if not of_agents.search(metric.name)}
    assert 'wardgate_kubernetes_watched{kind="httproutes.gateway.networking.k8s.io"} 1.0' in found
    assert 'wardgate_kubernetes_status_writes_total{result="written"}' in found


def test_two_replicas_one_writes(site: Site, tmp_path: Path) -> None:
    """Both serve; when the one that writes ends, the other does."""
    resolve = {"shop/app:80": "127.0.0.1:9"}
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    own = ("--lease", "wardgate/two-replicas")
    with InCluster(folders[1], site.cluster, resolve, *own) as first:
        site.until(lambda: bool(first.said("statuses are written here")), "the first writes")
        with InCluster(folders[0], site.cluster, resolve, *own) as second:
            time.sleep(1.0)
            assert not second.said("statuses are written here")
            first.stop()
            site.until(lambda: bool(second.said("statuses are written here")), "the second writes")


def test_without_the_rights_it_is_not_ready(site: Site, tmp_path: Path) -> None:
    """A list of policies that is refused is no empty list: nothing is served, and what is missing is said."""
    gateway = InCluster(tmp_path, site.cluster, {}, user="stranger")
    try:
        kind = "securitypolicies.gateway.envoyproxy.io"
        wait_for(lambda: kind in json.dumps(gateway.events()), f"it is said: {gateway.errors()}", 20)
        (told,) = [one for one in gateway.events() if one.get("kind") == kind]
        assert 'User "stranger" cannot list resource "securitypolicies"' in told["error"]
        time.sleep(1.0)
        assert not gateway.said("ready")
    finally:
        assert gateway.stop() == 0


def test_the_deployment_is_one(site: Site) -> None:
    """The API server takes what the guide applies."""
    site.cluster.apply(*deployed("gateway.yaml"))

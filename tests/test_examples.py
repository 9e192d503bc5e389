"""
The examples are run, as their READMEs say: the command lines are taken from there, with other ports.

That the files are accepted is in `test_docs`; who may do what, in every case and with real Keycloak, in `real`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.documents import command_lines, wardgate_calls
from tests.echo import Echo
from tests.gateway import COMMAND, Gateway
from tests.holding.running import Running
from tests.parts import PROJECT
from tests.parts.loopback import free_port
from tests.parts.proxies import Proxy
from tests.sending import send
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("s0-example")  # one gateway for all of them

ASKING = ("caddy", "haproxy", "ingress-nginx", "nginx", "traefik")
"""Other proxies: `tests/real/test_forward_auth.py` runs them, and `tests/traefik`."""

AGENTS = ("aip",)
"""`tests/holding/test_agents.py` and `tests/real/test_agents.py` run it."""

MANIFESTS = ("agentgateway", "envoy-gateway")
"""`tests/real/test_agentgateway.py` and `test_envoy_gateway.py` run them."""

EXAMPLE = PROJECT / "examples" / "s0-gatekeeper"
ENVOY = PROJECT / "examples" / "envoy-ext-authz"
SECRETS = {"KEYCLOAK_CLIENT_SECRET": "s0-secret", "ENCRYPTION_KEY": "0123456789abcdef0123456789abcdef"}


@dataclass(frozen=True, slots=True)
class Curl:
    """One `curl` of a README: the path, the headers, and what its comment says comes back."""

    path: str
    headers: tuple[tuple[str, str], ...]
    comment: str


def _calls(command: str) -> list[list[str]]:
    """The `wardgate COMMAND …` of the README."""
    lines = (line for _, line in command_lines(EXAMPLE / "README.md"))
    return [
        call
        for line in lines
        for call in wardgate_calls(line)
        if call[: len(command.split())] == command.split()
    ]


def _curls() -> list[Curl]:
    found = []
    for _, line in command_lines(EXAMPLE / "README.md"):
        if line.startswith("curl "):
            command, _, comment = line.partition("#")
            words = shlex.split(command)
            headers = [words[index + 1] for index, word in enumerate(words) if word == "-H"]
            pairs = tuple(
                (name, value.strip()) for name, _, value in (header.partition(":") for header in headers)
            )
            found.append(Curl(re.sub(r"^http://[^/]+", "", words[-1]), pairs, comment.strip()))
    return found


CURLS = _curls()


@pytest.fixture(scope="module")
def issuer() -> Iterator[IdpServer]:
    """The issuer of the README's `wardgate idp`: the same realm file."""
    (call,) = _calls("idp")
    realm = Path(EXAMPLE, call[call.index("--realm") + 1]).resolve()
    with IdpServer(realm) as server:
        yield server


@pytest.fixture(scope="module")
def application() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


@pytest.fixture(scope="module")
def gateway(issuer: IdpServer, application: Echo) -> Iterator[Gateway]:
    """The README's `wardgate run`, with the addresses of this run."""
    (call,) = _calls("run")
    files = [EXAMPLE / word for word in call if word.endswith(".yaml")]
    rest = [word for word in call[1:] if word != "-c" and not word.endswith(".yaml")]
    arguments = [_here(word, issuer, application) for word in rest]
    running = Gateway.start(files, *arguments, env=SECRETS)
    try:
        yield running
    finally:
        running.stop()


def _here(word: str, issuer: IdpServer, application: Echo) -> str:
    assert "localhost" not in word
    return word.replace("127.0.0.1:8080", f"127.0.0.1:{issuer.port}").replace(
        "127.0.0.1:8000", f"127.0.0.1:{application.port}"
    )


@pytest.fixture(scope="module")
def token(issuer: IdpServer, application: Echo) -> str:
    """What the README's `wardgate token get` prints."""
    (call,) = _calls("token get")
    command = [str(COMMAND), *(_here(word, issuer, application) for word in call)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_every_example_is_run() -> None:
    """A new folder in `examples` needs a test here."""
    found = {path.name for path in EXAMPLE.parent.iterdir() if path.is_dir()}
    assert found == {EXAMPLE.name, ENVOY.name, *ASKING, *MANIFESTS, *AGENTS}


def test_the_readme_shows_each_kind_of_answer() -> None:
    """Let through, unknown, forbidden, redirected to https and to the login: one line of each at least."""
    assert {curl.comment.partition(",")[0] for curl in CURLS} == {"let through", "401", "403", "301", "303"}


@pytest.mark.parametrize("curl", CURLS, ids=lambda curl: f"{curl.path} {curl.comment}")
def test_each_line_of_the_readme_is_answered_as_it_says(
    gateway: Gateway, application: Echo, token: str, curl: Curl
) -> None:
    """The status is the comment's; what is let through is the application's own answer, and nothing else reaches it."""
    headers = [(name, value.replace("$TOKEN", token)) for name, value in curl.headers]
    before = len(application.arrivals())
    answer = send(gateway.port, "GET", curl.path, [("Host", f"127.0.0.1:{gateway.port}"), *headers])
    arrived = application.arrivals()[before:]
    if curl.comment.startswith("let through"):
        assert (answer.status, [one.path for one in arrived]) == (200, [curl.path])
    else:
        assert (answer.status, arrived) == (int(curl.comment), [])


def test_the_application_is_told_who_calls(gateway: Gateway, application: Echo, token: str) -> None:
    """The identity headers of `gatekeeper-extra.yaml` arrive, and a client's own copy does not."""
    headers = [("Host", "api.test"), ("X-Forwarded-Proto", "https"), ("Authorization", f"Bearer {token}")]
    answer = send(gateway.port, "GET", "/api/v1/user/me", [*headers, ("X-Auth-Userid", "root")])
    assert answer.status == 200
    arrival = application.arrivals()[-1]
    assert arrival.values("x-auth-userid") == ["user"]
    assert arrival.values("x-auth-groups") == ["improwised:user"]


def test_the_health_endpoint_is_not_redirected(gateway: Gateway) -> None:
    """Probes speak plain http and know no token."""
    assert send(gateway.port, "GET", "/oauth/health", [("Host", "probe.test")]).status == 200


def test_another_envoy_asks(tmp_path: Path) -> None:
    """The example's two files, with the built-in issuer: who may passes and is named, nobody else, nor anybody's headers."""
    _ask_through(ENVOY / "envoy.json", tmp_path)


def test_istio_asks(tmp_path: Path) -> None:
    """
    What istiod makes of the example's manifests, in the place of the filters of the plain Envoy: the provider is an
    ext_authz filter of that HTTP service, whose lists are of names or of prefixes with `*`.
    """
    mesh, patch, policy = YAML(typ="safe").load_all((ENVOY / "istio.yaml").read_text("utf-8"))
    provider = mesh["spec"]["meshConfig"]["extensionProviders"][0]
    assert policy["spec"]["provider"]["name"] == provider["name"]
    document = json.loads((ENVOY / "envoy.json").read_text("utf-8"))
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    filters = chain["filters"][0]["typed_config"]["http_filters"]
    filters[0] = patch["spec"]["configPatches"][0]["patch"]["value"]
    filters[1]["typed_config"] = _ext_authz_of(provider["envoyExtAuthzHttp"])
    configuration = tmp_path / "istio" / "envoy.json"
    configuration.parent.mkdir()
    configuration.write_text(json.dumps(document), "utf-8")
    _ask_through(configuration, tmp_path)


def _ext_authz_of(provider: dict[str, Any]) -> dict[str, Any]:
    def patterns(names: list[str]) -> dict[str, Any]:
        found = ({"prefix": name[:-1]} if name.endswith("*") else {"exact": name} for name in names)
        return {"patterns": list(found)}

    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": provider["failOpen"],
        "status_on_error": {"code": int(provider["statusOnError"])},
        "allowed_headers": patterns(provider["includeRequestHeadersInCheck"]),
        "http_service": {
            "server_uri": {
                "uri": f"http://{provider['service']}",
                "cluster": "wardgate",
                "timeout": provider["timeout"],
            },
            "path_prefix": provider["pathPrefix"],
            "authorization_response": {
                "allowed_upstream_headers": patterns(provider["headersToUpstreamOnAllow"]),
                "allowed_client_headers": patterns(provider["headersToDownstreamOnDeny"]),
                "allowed_client_headers_on_success": patterns(provider["headersToDownstreamOnAllow"]),
            },
        },
    }


def _ask_through(configuration: Path, tmp_path: Path) -> None:
    """That Envoy in front of the example's Wardgate, and without it."""
    with Echo() as application, IdpServer() as issuer:
        content = YAML(typ="safe").load((ENVOY / "wardgate.yaml").read_text("utf-8"))
        content.pop("listen")
        content["provider"] = {"issuer": issuer.issuer, "audience": "demo-gateway"}
        ports = {8080: free_port(), 8081: 0, 9000: int(application.url.rpartition(":")[2])}
        with Running(tmp_path, content) as gateway:
            ports[8081] = gateway.port
            with Proxy.start("envoy", configuration, ports) as proxy:
                _ask_all(proxy.port, application, _demo_token(issuer))
                gateway.stop()
                assert send(proxy.port, "GET", "/public/x", [("Host", "a.test")]).status == 503
    assert not any(arrival.values("x-auth-roles") == ["root"] for arrival in application.arrivals())


def _ask_all(port: int, application: Echo, token: str) -> None:
    bearer = ("Authorization", f"Bearer {token}")
    forged = [("X-User-Id", "root"), ("X-Auth-Roles", "root"), ("X-Forwarded-Uri", "/public/x")]
    wanted = {
        ("/public/x", ""): 200,
        ("/api/x?y=1", ""): 401,
        ("/api/x?y=1", token): 200,
        ("/api/admin/x", token): 403,
        ("/elsewhere", ""): 401,
        ("/public/../api/admin/x", ""): 401,
        ("/public/..;/api/admin/x", ""): 401,  # it is the path above to Envoy
        ("/public/%2561", ""): 400,
        ("/API/admin/x", token): 403,
    }
    for (path, brought), status in wanted.items():
        before = len(application.arrivals())
        headers = [("Host", "a.test"), ("Connection", "close"), *forged, *([bearer] if brought else [])]
        assert send(port, "GET", path, headers).status == status, path
        arrived = application.arrivals()[before:]
        assert len(arrived) == (status == 200), path
        for one in arrived:
            assert one.values("x-auth-user") == (["user"] if brought else [])
            assert "root" not in one.values("x-user-id")


def _demo_token(issuer: IdpServer) -> str:
    form = {
        "grant_type": "password",
        "client_id": "demo-gateway",
        "client_secret": "demo-secret",
        "username": "user",
        "password": "user-password",
        "scope": "openid",
    }
    answer = httpx.post(f"{issuer.issuer}/protocol/openid-connect/token", data=form).raise_for_status()
    return str(answer.json()["access_token"])

"""
The parts of forward-auth: Wardgate and a service as S1 describes it, asked about the same request, directly and behind
nginx.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from issuer import CLIENT, REALM
from processes import Part, pinned
from sessions import logged_in
from tests.parts.loopback import free_port

from parts import COOKIE_KEY, HERE, PATH, SECRET, Bench

PEER_PYTHON = HERE.parent / ".cache" / "bench-peers" / "bin" / "python"
MAPPING: Mapping[str, list[str]] = {
    "/api/v1/admin": ["admin"],
    "/api/v1/user": ["offline_access", "admin"],
    "/health": [],
}
ASKED_AT = "/auth"


def question(path: str = PATH) -> dict[str, str]:
    """As Traefik asks."""
    return {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.test",
        "X-Forwarded-Uri": path,
    }


def asked(bench: Bench, path: str = PATH) -> dict[str, str]:
    return {"Authorization": f"Bearer {bench.token}", **question(path)}


def wardgate_mapping(
    bench: Bench, name: str, mapping: Mapping[str, list[str]] = MAPPING, path: str = PATH
) -> Part:
    """S1: a role mapping and its environment."""
    file = bench.folder / f"mapping-{len(mapping)}.yaml"
    file.write_text(json.dumps(mapping), encoding="utf-8")
    env = {
        "KEYCLOAK_URL": bench.issuer.url.removesuffix(REALM),
        "KEYCLOAK_REALM": REALM.rpartition("/")[2],
        "KEYCLOAK_AUDIENCE": CLIENT,
    }
    return _wardgate(bench, name, file, env, asked(bench, path), "access-log=false")


def wardgate_sessions(bench: Bench, name: str) -> tuple[Part, list[str]]:
    """The same rules with a session that is there: the part, asked with a bearer, and the session's cookie."""
    state = Path(tempfile.mkdtemp(prefix="state-", dir=bench.folder))
    cookies = logged_in(state / "sessions.sqlite", COOKIE_KEY, bench.issuer, 1)
    file = bench.folder / "asked.yaml"
    file.write_text(json.dumps(_with_sessions(bench)), encoding="utf-8")
    return _wardgate(bench, name, file, {"WARDGATE_STATE_DIR": str(state)}, asked(bench)), cookies


def _with_sessions(bench: Bench) -> dict[str, Any]:
    provider = {
        "issuer": bench.issuer.url,
        "audience": CLIENT,
        "client-id": CLIENT,
        "client-secret": SECRET,
    }
    session = {
        "cookie": {"secure": False},
        "encryption-key": COOKIE_KEY,
        "redirection-url": "http://127.0.0.1:3000",
    }
    return {
        "provider": provider,
        "session": session,
        "forward-auth": {"path": ASKED_AT},
        "access-log": False,
        "identity-headers": {
            "X-User-Id": "sub",
            "X-Auth-User": "preferred_username",
            "X-Auth-Email": "email",
        },
        "routes": [{"path": "/api/v1/user/**", "roles": ["offline_access", "admin"]}],
    }


def _wardgate(
    bench: Bench, name: str, file: Path, env: Mapping[str, str], headers: Mapping[str, str], *settings: str
) -> Part:
    port, admin = free_port(), free_port()
    command = [
        *bench.command,
        "run",
        "--concurrency",
        "1",
        "--trusted-proxies",
        "127.0.0.1/32",
        "-c",
        str(file),
    ]
    command += ["--set", f"listen=127.0.0.1:{port}", "--set", f"admin=127.0.0.1:{admin}"]
    command += [word for one in settings for word in ("--set", one)]
    state = tempfile.mkdtemp(prefix="state-", dir=bench.folder)
    return _start(bench, name, command, port, headers, {"WARDGATE_STATE_DIR": state, **env})


def peer(bench: Bench, name: str = "FastAPI and PyJWT") -> Part:
    port = free_port()
    file = bench.folder / "peer-mapping.yaml"
    file.write_text(json.dumps(MAPPING), encoding="utf-8")
    env = {"ISSUER": bench.issuer.url, "AUDIENCE": CLIENT, "MAPPING": str(file), "PORT": str(port)}
    command = [str(PEER_PYTHON), str(HERE / "peers" / "authproxy.py")]
    return _start(bench, name, command, port, asked(bench), env)


NGINX = """
{user}daemon off; pid {folder}/pid; worker_processes 1; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  upstream asked {{ server 127.0.0.1:{asked}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location = /ask {{
      internal;
      proxy_pass http://asked/auth;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-Method $request_method;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Uri $request_uri;
    }}
    location / {{
      auth_request /ask;
      try_files /nothing @application;
    }}
    location @application {{ return 200 "ok"; }}
  }}
}}
"""


def nginx(bench: Bench, behind: Part, name: str) -> Part:
    """nginx on the load's core, which asks `behind`; its processor time is not what is measured."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="nginx-", dir=bench.folder))
    folder.chmod(0o755)
    bench.folder.chmod(0o755)
    user = "user root; " if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    text = NGINX.format(folder=folder, user=user, port=port, asked=behind.url.split(":")[2].split("/")[0])
    file.write_text(text, encoding="utf-8")
    command = pinned(
        bench.cores.load, ["/usr/sbin/nginx", "-p", str(folder), "-c", str(file), "-e", "stderr"]
    )
    headers = {"Authorization": f"Bearer {bench.token}"}
    return Part.start(name, command, f"http://127.0.0.1:{port}{PATH}", folder / "log", headers=headers)


def _start(
    bench: Bench, name: str, command: list[str], port: int, headers: Mapping[str, str], env: Mapping[str, str]
) -> Part:
    log = bench.folder / f"{name.replace(' ', '-').replace(',', '')}.log"
    url = f"http://127.0.0.1:{port}{ASKED_AT}"
    return Part.start(name, pinned(bench.cores.measured, command), url, log, headers=headers, env=env)

"""
nginx as a plain balancer in front of several gateways: in turn, nothing sticky, nothing clever.

    with Balancer([gateway.port, other.port]) as balancer:
        requests go to balancer.url

Debian's nginx with a configuration and a folder of its own; what Debian configures is never read. It says the
scheme and the client's address as a proxy should (X-Forwarded-*), which counts where gateways trust 127.0.0.1/32.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from tests.parts import Missing
from tests.parts.loopback import free_port

PROGRAM: Final = "/usr/sbin/nginx"
START_LIMIT: Final = timedelta(seconds=10)

# A gateway that is away is tried again at once by the next request: `max_fails=0`, and a request whose connection
# was refused goes to the other one. Nothing that was sent is ever sent twice by nginx itself.
TEMPLATE: Final = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
  access_log {folder}/access.log;
  {temporary}
  client_max_body_size 0;
  upstream gateways {{
    {servers}
    keepalive 64;
  }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  proxy_buffer_size 64k;
  proxy_buffers 8 64k;
  large_client_header_buffers 8 64k;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto {scheme};
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_next_upstream error;
      proxy_buffering off;
      proxy_read_timeout 120s;
    }}
  }}
}}
"""

TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Balancer:
    """Listens on a free port of 127.0.0.1 from the first line of its `with` on. `scheme` is what it says of clients."""

    def __init__(self, ports: Sequence[int], *, scheme: str = "$scheme") -> None:
        self.port = free_port()
        self._ports = ports
        self._scheme = scheme

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        if shutil.which(PROGRAM) is None:
            raise Missing("nginx is not installed: python -m tests.parts.install nginx")
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        file = self._folder / "nginx.conf"
        file.write_text(self._configuration(), "utf-8")
        self._folder.chmod(0o755)  # as root, its worker is another user
        command = [PROGRAM, "-p", str(self._folder), "-c", str(file), "-e", str(self._folder / "error.log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def served(self) -> list[str]:
        """Its access log, a line for each request that was answered."""
        return (self._folder / "access.log").read_text("utf-8").splitlines()

    def _configuration(self) -> str:
        servers = "\n    ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in self._ports)
        temporary = "\n  ".join(f"{name}_temp_path {self._folder}/{name};" for name in TEMPORARY)
        text = TEMPLATE.format(
            folder=self._folder, temporary=temporary, servers=servers, port=self.port, scheme=self._scheme
        )
        # `nobody` needs none of root's rights; a user who is not root may not say it
        return f"user nobody nogroup;\n{text}" if os.geteuid() == 0 else text

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT.total_seconds()
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self._folder / "error.log"
                said = log.read_text("utf-8") if log.exists() else "nothing"
                raise RuntimeError(f"nginx did not start; it said:\n{said}")
            time.sleep(0.02)

    def _listens(self) -> bool:
        pid = self._folder / "pid"
        return pid.exists() and bool(pid.read_text("ascii").strip())

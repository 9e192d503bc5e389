"""
Traefik, built from the Go module proxy: there is no package of it. It takes minutes, so only `make test-traefik` asks
for it.
"""

from __future__ import annotations

from typing import Final

from tests.parts import CACHE, go

VERSION: Final = "3.6.12"
FOLDER: Final = CACHE / f"traefik-{VERSION}"
PROGRAM: Final = FOLDER / "traefik"

# Traefik's own go.mod replaces these, and only the main module's replacements count.
MODULE: Final = f"""
module wardgate.test/traefik

go 1.26

require github.com/traefik/traefik/v3 v{VERSION}

replace (
\tgithub.com/abbot/go-http-auth => github.com/containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e
\tgithub.com/gorilla/mux => github.com/containous/mux v0.0.0-20250523120546-41b6ec3aed59
\tgithub.com/mailgun/minheap => github.com/containous/minheap v0.0.0-20190809180810-6e71eb837595
)

exclude github.com/tencentcloud/tencentcloud-sdk-go v3.0.83+incompatible
"""
SUMS: Final = f"""
github.com/traefik/traefik/v3 v{VERSION} h1:6pe4s7aaDTQs+AsF7KP3sM/xnq7zOVvibRQe5tw9eFo=
github.com/traefik/traefik/v3 v{VERSION}/go.mod h1:CAiMG7xwkYlNbIKsFzvgxSuHCqZ2KI/0DTQVkvS5Nuo=
"""


def install() -> None:
    """Raises `Missing` without a Go that is new enough, or when the build fails, with what it said."""
    go.build(PROGRAM, "github.com/traefik/traefik/v3/cmd/traefik", MODULE, SUMS, minutes=4)

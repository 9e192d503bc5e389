"""`wardgate check` on manifests: every problem is told, whichever way it is printed."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from wardgate.cli import app

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: public}]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
"""


def test_problems_of_manifests_and_of_none_are_told(tmp_path: Path) -> None:
    """As data: one object a manifest, with its own problems, and one for what no manifest is to blame for; exit code 2."""
    file = tmp_path / "route.yaml"
    file.write_text(ROUTE, "utf-8")
    result = CliRunner().invoke(app, ["check", "-c", str(file), "--output", "json"])
    route, rest = json.loads(result.output)
    assert (route["kind"], route["namespace"], route["name"]) == ("HTTPRoute", "shop", "shop")
    assert {one["code"] for one in route["problems"]} == {"route-parent", "backend-missing"}
    assert [one["code"] for one in rest["problems"]] == ["gateway-missing"]
    assert result.exit_code == 2
    printed = CliRunner().invoke(app, ["check", "-c", str(file)])
    assert all(
        f"[{code}]" in printed.output for code in ("route-parent", "backend-missing", "gateway-missing")
    )

"""`wardgate token`: fetch one, look into one, verify one."""

from __future__ import annotations

import typer

app = typer.Typer(help="Fetch, decode and verify tokens.", no_args_is_help=True)


@app.callback()
def _token() -> None:
    """Fetch, decode and verify tokens."""

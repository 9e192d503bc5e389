"""`wardgate aip-gateway`: requests of agents, safety policies and people who decide (S2), in the foreground."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from wardgate.cli import sources
from wardgate.dialects import Reading
from wardgate.policy import Policy
from wardgate.problems import ConfigError, Severity


def _flag(name: str, metavar: str, words: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        f"--{name}", metavar=metavar, help=words, envvar="WARDGATE_" + name.upper().replace("-", "_")
    )
    return found


Text = str | None


def aip_gateway(
    oidc_issuer_url: Annotated[Text, _flag("oidc-issuer-url", "URL", "Who issues the tokens.")] = None,
    oidc_audience: Annotated[
        Text, _flag("oidc-audience", "TEXT", "What their aud must hold; aip-gateway by default.")
    ] = None,
    oidc_identity_claim: Annotated[
        Text,
        _flag(
            "oidc-identity-claim",
            "CLAIM",
            "The claim that says who calls: azp by default, Okta and Auth0 sub.",
        ),
    ] = None,
    oidc_groups_claim: Annotated[
        Text, _flag("oidc-groups-claim", "CLAIM", "The claim that holds groups; groups by default.")
    ] = None,
    agent_subjects: Annotated[Text, _flag("agent-subjects", "NAME,…", "Who may ask.")] = None,
    reviewer_subjects: Annotated[Text, _flag("reviewer-subjects", "NAME,…", "Who decides.")] = None,
    admin_subjects: Annotated[Text, _flag("admin-subjects", "NAME,…", "Who decides, too.")] = None,
    agent_groups: Annotated[Text, _flag("agent-groups", "GROUP,…", "Groups whose members may ask.")] = None,
    reviewer_groups: Annotated[
        Text, _flag("reviewer-groups", "GROUP,…", "Groups whose members decide.")
    ] = None,
    admin_groups: Annotated[
        Text, _flag("admin-groups", "GROUP,…", "Groups whose members decide, too.")
    ] = None,
    agent_owners: Annotated[
        Text,
        _flag(
            "agent-owners",
            "AGENT=PERSON,…",
            "Who answers for an agent, by subject or e-mail, and so cannot approve what it asks for.",
        ),
    ] = None,
    addr: Annotated[Text, _flag("addr", "[HOST]:PORT", "Where to listen; :8080 by default.")] = None,
    tls_certificate: Annotated[
        Text, _flag("tls-certificate", "FILE", "Speak TLS, with this certificate (PEM); and")
    ] = None,
    tls_key: Annotated[Text, _flag("tls-key", "FILE", "its key.")] = None,
    safety_policies: Annotated[
        list[str] | None,
        typer.Option(
            "--safety-policies",
            "-c",
            metavar="FILE",
            help="SafetyPolicy manifests, or a folder of them; repeat. Without any, all is approved as it comes.",
        ),
    ] = None,
    store: Annotated[
        Text,
        _flag(
            "store",
            "URL",
            "postgresql://USER:PASSWORD@HOST/DATABASE; a file in the state directory by default.",
        ),
    ] = None,
    pending_for: Annotated[
        Text, _flag("pending-for", "DURATION", "When an undecided request expires; 24h by default.")
    ] = None,
    dedup_window: Annotated[
        Text, _flag("dedup-window", "DURATION", "How long a dedupKey means the same request; 24h by default.")
    ] = None,
    webhook_url: Annotated[
        Text, _flag("webhook-url", "URL", "Who is told by POST of requests that wait for people.")
    ] = None,
    webhook_secret: Annotated[
        Text,
        _flag("webhook-secret", "TEXT", "What signs that (Standard Webhooks); better by the environment."),
    ] = None,
    console_client_id: Annotated[
        Text,
        _flag(
            "console-client-id",
            "TEXT",
            "Let people decide in a browser, at /console: the client they log in through.",
        ),
    ] = None,
    console_client_secret: Annotated[
        Text, _flag("console-client-secret", "TEXT", "Its secret; better by the environment.")
    ] = None,
    console_url: Annotated[
        Text, _flag("console-url", "URL", "The address for browsers, such as https://agents.example.com.")
    ] = None,
    console_scopes: Annotated[
        Text, _flag("console-scopes", "TEXT", "What a login asks for; 'openid profile email' by default.")
    ] = None,
    console_sessions: Annotated[
        Text,
        _flag(
            "console-sessions",
            "PLACE",
            "Where sessions are kept: cookie, redis://…, or on this machine (default).",
        ),
    ] = None,
    console_encryption_key: Annotated[
        Text, _flag("console-encryption-key", "KEY", "32 bytes in base64, the same for all replicas.")
    ] = None,
    settings: sources.Settings = None,
    trusted_proxies: sources.Trusted = None,
    state_dir: sources.StateDirectory = None,
    concurrency: sources.Concurrency = None,
) -> None:
    """
    Let agents ask before they act: safety policies allow, deny, or leave it to people, who approve or deny over HTTP.

    Agents and reviewers bring tokens of the issuer; people decide in a browser, too (--console-client-id). Nobody approves their own request. Each step is in a record that can
    only grow. Changed policies are read again; wrong ones change nothing, and are printed.
    """
    from wardgate import compiler
    from wardgate.supervisor import Files, Options, state_directory
    from wardgate.supervisor import run as supervise

    given = {
        "oidc-issuer-url": oidc_issuer_url,
        "oidc-audience": oidc_audience,
        "oidc-identity-claim": oidc_identity_claim,
        "oidc-groups-claim": oidc_groups_claim,
        "agent-subjects": agent_subjects,
        "reviewer-subjects": reviewer_subjects,
        "admin-subjects": admin_subjects,
        "agent-groups": agent_groups,
        "reviewer-groups": reviewer_groups,
        "admin-groups": admin_groups,
        "agent-owners": agent_owners,
        "addr": addr,
        "tls-certificate": tls_certificate,
        "tls-key": tls_key,
        "store": store,
        "pending-for": pending_for,
        "dedup-window": dedup_window,
        "webhook-url": webhook_url,
        "webhook-secret": webhook_secret,
        "console-client-id": console_client_id,
        "console-client-secret": console_client_secret,
        "console-url": console_url,
        "console-scopes": console_scopes,
        "console-sessions": console_sessions,
        "console-encryption-key": console_encryption_key,
    }
    said = sources.options(settings, trusted_proxies, False, None)
    pairs = [(key, value) for key, value in given.items() if value is not None]
    chosen = replace(said, settings=(*pairs, *said.settings))
    files = safety_policies or []

    def load() -> Reading:
        return sources.with_files(sources.load(files, chosen, "aip"), Severity.ERROR)

    _require_issuer(load())

    def started(policy: Policy) -> None:
        address = policy.listeners[0].address
        host = "" if address.host == "0.0.0.0" else address.host  # noqa: S104
        print(f"Starting AIP Demo Gateway on {host}:{address.port}", file=sys.stderr, flush=True)

    state = state_directory(state_dir, os.environ)
    options = Options(state=state, concurrency=concurrency, on_ready=started)
    raise typer.Exit(supervise(Files(load, lambda: sources.watched(files)), options, compiler))


def _require_issuer(reading: Reading) -> None:
    """
    Ask the issuer for its discovery document before anything starts, as S2's gateway does: exit code 1 when it does not
    answer, or is another one. Raises ConfigError for a configuration that cannot be used.
    """
    import httpx

    from wardgate.verify import DiscoveryRejected, read_discovery

    if reading.policy is None:
        raise ConfigError(reading.problems)
    provider = reading.policy.providers[0]
    try:
        answer = httpx.get(provider.discovery(), timeout=sources.DISCOVERY_S)
        answer.raise_for_status()
        read_discovery(answer.content, issuer=provider.issuer)
    except httpx.HTTPStatusError as error:
        _fail(f"{error.response.status_code} from {provider.discovery()}")
    except httpx.HTTPError as error:
        _fail(f"{provider.discovery()} cannot be reached: {error}")
    except DiscoveryRejected as error:
        _fail(str(error))


def _fail(why: str) -> None:
    print(f"OIDC setup failed: oidc provider: {why}", file=sys.stderr)
    raise typer.Exit(1)

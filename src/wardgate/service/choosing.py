"""
At which provider a person logs in, and at which address the issuer sends them back. Pure.

`redirect_uri` is never made from what a client says alone (Host): it is the configured `redirection_url`, or the
request's own host where the configuration names exactly that host, or it is this machine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from wardgate.policy import LoginParameter, Provider
from wardgate.policy import Session as Terms
from wardgate.service.settings import HostTerms


def choose(
    providers: Sequence[Provider], *, host: str, email: str | None = None, named: str | None = None
) -> Sequence[Provider]:
    """
    Those of the providers that may be meant: the one that is named, else those of the e-mail address's domain, else those
    of the host, else all of them. Empty when the named one is not among them.
    """
    if named is not None:
        return [p for p in providers if p.name == named]
    domain = (email or "").rpartition("@")[2].casefold()
    of_domain = [p for p in providers if domain and domain in {d.casefold() for d in p.email_domains}]
    of_host = [p for p in providers if host_name(host) in {h.casefold() for h in p.hosts}]
    return of_domain or of_host or providers


def parameters_for(terms: Iterable[LoginParameter], given: dict[str, str]) -> dict[str, str]:
    """What a login passes on of the parameters that came with it, and the defaults of those that did not."""
    found: dict[str, str] = {}
    for parameter in terms:
        value = given.get(parameter.name)
        if value is None or (parameter.only is not None and value != parameter.only):
            value = parameter.default
        if value is not None:
            found[parameter.name] = value
    return found


def base_of(terms: Terms, hosts: Iterable[HostTerms], *, scheme: str, host: str, prefix: str) -> str | None:
    """
    Where this gateway is for browsers: `https://HOST[:PORT][/PATH]`, without a slash at its end. None when the
    configuration does not say, and what the request says is not enough.
    """
    if terms.redirection_url is not None:
        return terms.redirection_url.rstrip("/").removesuffix(f"{prefix}/callback").rstrip("/")
    name = host_name(host)
    if name and (_is_loopback(name) or name in _exact_names(hosts)):
        return f"{scheme}://{host}"
    return None


def host_name(host: str) -> str:
    """A host without its port, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _exact_names(hosts: Iterable[HostTerms]) -> set[str]:
    return {host_name(name) for host in hosts for name in host.names if "*" not in name}


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

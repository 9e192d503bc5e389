"""
`approvals` in wardgate.yaml: requests of agents, with a listener of their own. Read here, and written back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from wardgate import policy as model
from wardgate.dialects import _agents, _aip_policies
from wardgate.dialects import _native_edges as edges
from wardgate.dialects import _native_schema as schema
from wardgate.dialects._native_place import Building
from wardgate.dialects._native_write_fields import changed, reference
from wardgate.dialects._native_write_rules import Keys, duration, pairs
from wardgate.dialects._native_yaml import Inline
from wardgate.document import Path
from wardgate.safety import SafetyPolicy, SafetyRule, TimeWindow

PLACE: Path = ("approvals",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What `approvals` becomes: part of the policy, and where it is reached."""

    approvals: model.Approvals
    listener: model.Listener


def read(
    building: Building,
    form: schema.Approvals | None,
    providers: Sequence[model.Provider],
    has_session: bool,
) -> Decided | None:
    """None without the key, and where it cannot be used: then the building has the problems."""
    if form is None:
        return None
    provider = _provider(building, form, providers)
    safety = tuple(
        _aip_policies.listed(building, {"safety-policies": list(form.safety_policies)}, PLACE)
        if form.safety_policies is not None
        else ()
    )
    store = None if form.store is None else building.secret((*PLACE, "store"), form.store, "approvals-store")
    if form.store is not None and not _agents.STORE.match(form.store):
        place = (*PLACE, "store")
        building.complain("approvals-store", "is no URL of a database", place, hint=_agents.STORE_HINT)
    address = edges.address(building, form.listen, (*PLACE, "listen"))
    webhook = _webhook(building, form.webhook)
    if provider is None or address is None:
        return None
    times = {
        name: value
        for name in ("pending_for", "dedup_window", "grants_for")
        if (value := getattr(form, name)) is not None
    }
    for name, value in times.items():
        if value <= timedelta(0):
            building.complain(
                "duration-form", "is no time", (*PLACE, name.replace("_", "-")), hint="such as 30m"
            )
    found = building.attempt(
        PLACE,
        lambda: model.Approvals(
            provider=provider.name,
            agents=_members(form.agents),
            reviewers=_members(form.reviewers),
            admins=_members(form.admins),
            owners=edges.pairs(form.owners) if form.owners else (),
            store=store,
            webhook=webhook,
            safety=safety,
            where=building.where(PLACE),
            **edges.given(identity_claim=form.identity_claim, groups_claim=form.groups_claim),
            **times,
        ),
    )
    if found is None:
        return None
    console = has_session and provider.client_id is not None
    listener = _agents.listener(address, edges.server_tls(form.tls), provider.name, console=console)
    return Decided(approvals=found, listener=listener)


def _provider(
    building: Building, form: schema.Approvals, providers: Sequence[model.Provider]
) -> model.Provider | None:
    if form.provider is None and len(providers) == 1:
        return providers[0]
    named = next((provider for provider in providers if provider.name == form.provider), None)
    if named is None:
        place = (*PLACE, "provider") if form.provider is not None else PLACE
        hint = (
            f"one of {', '.join(one.name for one in providers)}"
            if providers
            else "add provider: with issuer and audience"
        )
        building.complain("approvals-provider", "whose tokens agents bring is not said", place, hint=hint)
    return named


def _members(form: schema.Members | None) -> model.Members:
    return model.Members() if form is None else model.Members(subjects=form.subjects, groups=form.groups)


def _webhook(building: Building, form: schema.Webhook | None) -> model.Webhook | None:
    if form is None:
        return None
    place = (*PLACE, "webhook")
    secret = building.secret((*place, "secret"), form.secret, "webhook-secret")
    return building.attempt(
        place, lambda: model.Webhook(url=form.url, secret=secret, where=building.where(place))
    )


# --- Written back


def others(listeners: Sequence[model.Listener], approvals: model.Approvals | None) -> list[model.Listener]:
    """The listeners that `approvals` does not bring along."""
    return [each for each in listeners if approvals is None or each.name != _agents.NAME]


def write(policy: model.Policy) -> Keys:
    """The key with all that is not usual."""
    approvals = policy.approvals
    if approvals is None:
        return {}
    listener = next(each for each in policy.listeners if each.name == _agents.NAME)
    keys: Keys = {"listen": str(listener.address)}
    if listener.tls is not None:
        keys["tls"] = changed(listener.tls)
    if len(policy.providers) > 1:
        keys["provider"] = approvals.provider
    keys |= changed(approvals, only=("identity_claim", "groups_claim"))
    members = {"agents": approvals.agents, "reviewers": approvals.reviewers, "admins": approvals.admins}
    keys |= {name: found for name, each in members.items() if (found := changed(each))}
    if approvals.owners:
        keys["owners"] = pairs(approvals.owners)
    if approvals.store is not None:
        keys["store"] = reference(approvals.store, "approvals-store")
    keys |= changed(approvals, only=("pending_for", "dedup_window", "grants_for"))
    if approvals.webhook is not None:
        secret = reference(approvals.webhook.secret, "webhook-secret")
        keys["webhook"] = {"url": approvals.webhook.url, "secret": secret}
    if approvals.safety:
        keys["safety-policies"] = [_safety(each) for each in approvals.safety]
    return {"approvals": keys}


def _safety(policy: SafetyPolicy) -> Keys:
    keys: Keys = {"name": policy.name}
    if policy.listed_only:
        keys["only-listed"] = True
    if policy.fails_open:
        keys["fails-open"] = True
    if policy.approvals != 1:
        keys["approvals"] = policy.approvals
    if policy.reviewer_groups:
        keys["reviewer-groups"] = list(policy.reviewer_groups)
    keys["rules"] = [_rule(rule, number) for number, rule in enumerate(policy.rules)]
    return keys


def _rule(rule: SafetyRule, number: int) -> Mapping[str, Any]:
    keys: Keys = {} if rule.name == f"rules[{number}]" else {"name": rule.name}
    for name in ("agents", "actions", "targets"):
        if getattr(rule, name):
            keys[name] = list(getattr(rule, name))
    if rule.expression is not None:
        keys["when"] = rule.expression
    if rule.window is not None:
        keys["window"] = Inline(_window(rule.window))
    if rule.rate is not None:
        keys["rate"] = Inline(
            {"limit": rule.rate.limit, "window": duration(rule.rate.window), "per": rule.rate.per.value}
        )
    keys["then"] = rule.action.value
    if rule.message is not None:
        keys["message"] = rule.message
    return keys


def _window(window: TimeWindow) -> Keys:
    return {
        "days": [_aip_policies.DAYS[day] for day in window.days],
        "from": _clock(window.begins),
        "to": _clock(window.ends),
        "timezone": window.zone,
    }


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"

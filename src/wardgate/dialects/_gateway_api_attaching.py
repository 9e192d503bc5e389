"""
Which policy holds for which rule of which route: policies are attached to Gateways, listeners, routes and their rules, and of
Envoy Gateway's the most specific one holds, while agentgateway's hold together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wardgate.dialects import Options
from wardgate.dialects import _gateway_api_agent as agent
from wardgate.dialects import _gateway_api_security as security
from wardgate.dialects._gateway_api_gateways import Section
from wardgate.dialects._gateway_api_objects import GATEWAY, ROUTE_KINDS, Fields, Name, Object
from wardgate.dialects._gateway_api_policies import RANK, Target, Terms, is_internal, targets
from wardgate.dialects._gateway_api_routes import RouteRule
from wardgate.dialects._gateway_api_world import World
from wardgate.problems import ConfigError, Where

Reader = Callable[[World, Object, Fields], Terms]
TermsOf = Callable[[RouteRule, Section], Terms]
POLICIES: Final[tuple[tuple[str, str, Reader], ...]] = (
    (security.GROUP, "SecurityPolicy", security.terms),
    (agent.GROUP, "AgentgatewayPolicy", agent.terms),
)


@dataclass(slots=True, kw_only=True)
class Attached:
    """
    `terms` of every rule on every listener that serves it; `agents`: Gateways with policies of agentgateway; `ancestors` of each
    policy: the Gateways that it holds for.
    """

    terms: dict[tuple[RouteRule, Section], Terms] = field(default_factory=dict)
    agents: set[Object] = field(default_factory=set)
    ancestors: dict[Object, dict[Name, None]] = field(default_factory=dict)


def attach(
    world: World, options: Options, sections: Sequence[Section], rules: Sequence[RouteRule]
) -> Attached:
    """Every policy, the oldest first; what becomes of it is in its conditions."""
    attaching = _Attaching(world, options, sections, rules)
    for group, kind, read in POLICIES:
        found = world.of(group, kind)
        for policy in found:
            attaching.claim(policy, kind)
        for policy in found:
            attaching.policy(policy, kind, read)
    attaching.say_overridden()
    return attaching.attached


class _Attaching:
    """
    `_wanted`: what each policy says, and what it is to be attached to; `_taken`: whose each target is; `_holds`: where each
    policy is attached; `_by`: how specific the policy was whose terms hold; `_merged_with`: of a policy the places where another
    one is merged with it, and which.
    """

    def __init__(
        self, world: World, options: Options, sections: Sequence[Section], rules: Sequence[RouteRule]
    ) -> None:
        self.attached = Attached()
        self._world = world
        self._options = options
        self._sections = sections
        self._rules = rules
        self._by_route: dict[Name, list[RouteRule]] = {}
        for rule in rules:
            self._by_route.setdefault(rule.route.name, []).append(rule)
        self._by: dict[tuple[RouteRule, Section], int] = {}
        self._wanted: dict[Object, tuple[Fields, list[Target]]] = {}
        self._taken: dict[tuple[object, ...], Object] = {}
        self._together: dict[tuple[RouteRule, Section], list[tuple[int, Terms]]] = {}
        self._merged_with: dict[Object, dict[tuple[RouteRule, Section], Object]] = {}
        self._holds: dict[Object, list[tuple[RouteRule, Section]]] = {}

    def claim(self, policy: Object, kind: str) -> None:
        """Of several policies for one target the first that comes has it."""
        spec = policy.spec
        wanted = list(targets(self._world, policy, spec))
        self._wanted[policy] = spec, wanted
        for target in wanted:
            if self._is_here(target):
                self._taken.setdefault((kind, target), policy)

    def policy(self, policy: Object, kind: str, read: Reader) -> None:
        spec, wanted = self._wanted[policy]
        merging = kind == "SecurityPolicy" and self._merges(spec, wanted)
        own = None if merging else read(self._world, policy, spec)
        if own is not None:
            spec.finish()
        if self._in_cluster and any(map(self._is_elsewhere, wanted)):
            wanted = [target for target in wanted if not self._is_elsewhere(target)]
            if not wanted:
                policy.problems.clear()  # of another controller
                return
        if own is None:
            found = [target for target in wanted if self._attach_merged(policy, target, read)]
        else:
            terms = self._judged(policy, own)
            found = [target for target in wanted if self._attach(policy, kind, target, lambda *_: terms)]
        if kind == "SecurityPolicy":
            self._say_security(policy, wanted, found)
        else:
            self._say_agent(policy, wanted, found)

    def _judged(self, policy: Object, terms: Terms) -> Terms:
        terms = _sound(policy, terms, self._options.internal_issuers)
        return replace(terms, broken=policy.said()) if policy.problems else terms

    # --- merging

    def _merges(self, spec: Fields, wanted: Sequence[Target]) -> bool:
        """Whether a policy is to be merged with one that is less specific; lists are taken whole, by either way of merging."""
        how = spec.text("mergeType")
        if how is None:
            return False
        if how not in ("StrategicMerge", "JSONMerge"):
            hint = "StrategicMerge or JSONMerge"
            spec.complain(
                "policy-merge", "is no valid MergeType for SecurityPolicy", "mergeType", got=how, hint=hint
            )
        if any(target.kind not in ROUTE_KINDS for target in wanted):
            spec.complain("policy-merge", "mergeType can only be used with xRoute targets", "mergeType")
        return True

    def _attach_merged(self, policy: Object, target: Target, read: Reader) -> bool:
        """
        The policy over those above it: the one on the whole route, and, if that is to be merged itself, the one on the
        Gateway. With none as it stands.
        """
        made: dict[tuple[Object, ...], Terms] = {}

        def terms(rule: RouteRule, section: Section) -> Terms:
            above = tuple(self._above(target, section))
            if above not in made:
                made[above] = self._merged(policy, above, read)
            for each in above:
                self._merged_with.setdefault(each, {})[rule, section] = policy
            return made[above]

        found = self._attach(policy, "SecurityPolicy", target, terms)
        names = sorted({str(above[0].name) for above in made if above})
        if names and not policy.problems:
            policy.say("Merged", True, "Merged", f"Merged with policy {' '.join(names)}")
        return found

    def _above(self, target: Target, section: Section) -> Iterator[Object]:
        """From the closest on, as far as they are to be merged."""
        gateway = section.gateway.name
        wider = [Target(kind="Gateway", namespace=gateway.namespace, name=gateway.name, section=None)]
        if target.section is not None:
            wider.insert(0, replace(target, section=None))
        for each in wider:
            found = self._taken.get(("SecurityPolicy", each))
            if found is not None:
                yield found
                if not found.spec.text("mergeType"):
                    return

    def _merged(self, policy: Object, above: Sequence[Object], read: Reader) -> Terms:
        spec: dict[str, Any] = {}
        for each in (*reversed(above), policy):
            own = each.data.get("spec") or {}
            spec = patched(spec, {key: value for key, value in own.items() if key not in ATTACHING})
            elsewhere = each.name.namespace != policy.name.namespace
            if elsewhere and _names_others(own):
                message = f"is merged with {each.name}, which names what is in its own namespace"
                hint = "name it in the policy of the route"
                policy.complain("policy-merge", message, ("spec", "mergeType"), hint=hint)
        both = Object(name=policy.name, document=replace(policy.document, data={**policy.data, "spec": spec}))
        fields = both.spec
        terms = replace(read(self._world, both, fields), policy=policy)
        fields.finish()
        policy.problems += [each for each in both.problems if each not in policy.problems]
        return self._judged(policy, terms)

    # --- attaching

    def _attach(self, policy: Object, kind: str, target: Target, terms: TermsOf) -> bool:
        """Whether what the policy is attached to is here, and its own."""
        if not self._is_here(target):
            hint = "the name, and the namespace: a policy is attached within its own"
            policy.complain("policy-target-missing", self._missing(target), ("spec", "targetRefs"), hint=hint)
            return False
        if kind == "SecurityPolicy" and self._taken[kind, target] is not policy:
            message = f"Unable to target {target.title}, another SecurityPolicy has already attached to it"
            policy.say("Accepted", False, "Conflicted", message)
            return False
        ancestors = self.attached.ancestors.setdefault(policy, {})
        ancestors.update(dict.fromkeys(one.gateway.name for one in self._sections if target.is_gateway(one)))
        rank = RANK[target.level]
        for rule, section in self._places(target):
            ancestors[section.gateway.name] = None
            self._holds.setdefault(policy, []).append((rule, section))
            if kind == "AgentgatewayPolicy":
                self.attached.agents.add(section.gateway)
            self._set(rule, section, rank, terms(rule, section))
        return True

    def _places(self, target: Target) -> Iterator[tuple[RouteRule, Section]]:
        """Every rule on every listener that serves it, of what is named."""
        if target.kind in ROUTE_KINDS:
            rules = [rule for rule in self._rules_of(target) if target.is_route(rule)]
            return ((rule, section) for rule in rules for section in rule.sections)
        return ((rule, one) for rule in self._rules for one in rule.sections if target.is_gateway(one))

    def _set(self, rule: RouteRule, section: Section, rank: int, terms: Terms) -> None:
        place = rule, section
        known = self.attached.terms.get(place)
        if known is not None and known.policy.name.kind != terms.policy.name.kind:
            message = f"{rule.label} has a policy of another product, too: it is closed"
            terms.policy.complain(
                "several-products", message, ("spec", "targetRefs"), hint="keep one of them"
            )
            terms = replace(terms, broken="policies of two products are attached to one route")
            rank = 9
        if terms.policy.name.kind == "AgentgatewayPolicy":
            together = self._together.setdefault(place, [])
            together.insert(0, (rank, terms))  # of two that are equally specific the older one counts more
            terms = agent.merged([one for _, one in sorted(together, key=lambda each: each[0])])
            rank = max(one for one, _ in together)
            self._by[place] = -1
        if rank > self._by.get(place, -1):
            self.attached.terms[place], self._by[place] = terms, rank

    def _is_here(self, target: Target) -> bool:
        here = any(map(target.is_gateway, self._sections))
        return here or any(map(target.is_route, self._rules_of(target)))

    def _missing(self, target: Target) -> str:
        whole = replace(target, section=None)
        if target.section is None or not self._is_here(whole):
            return f"{target} is not here"
        return f"No section name {target.section} found for {whole}"

    def _rules_of(self, target: Target) -> Sequence[RouteRule]:
        return self._by_route.get(Name(GATEWAY, target.kind, target.namespace, target.name), ())

    def _is_elsewhere(self, target: Target) -> bool:
        """Whether it is there, and none of what we serve."""
        name = Name(GATEWAY, target.kind, target.namespace, target.name)
        return self._world.find(name) is not None and not self._is_here(replace(target, section=None))

    def say_overridden(self) -> None:
        """Of SecurityPolicies that another one is more specific than, for some route."""
        for policy, places in self._holds.items():
            if policy.name.kind != "SecurityPolicy" or policy.problems:
                continue
            merged_with = self._merged_with.get(policy, {})
            holders = {place: self.attached.terms[place].policy for place in places}
            joined = [place for place, holder in holders.items() if merged_with.get(place) is holder]
            lost = [
                place for place, holder in holders.items() if holder is not policy and place not in joined
            ]
            for found, kind, how in ((lost, "Overridden", "overridden"), (joined, "Merged", "merged")):
                routes = sorted({str(rule.route.name) for rule, _ in found})
                if routes:
                    message = f"This policy is being {how} by other securityPolicies for these routes: [{' '.join(routes)}]"
                    before = [one.message for one in policy.conditions if one.type == kind]
                    policy.say(kind, True, kind, "; ".join((*before, message)))

    def _say_security(self, policy: Object, wanted: list[Target], found: list[Target]) -> None:
        if policy.problems:
            reason = "Invalid" if found or not wanted else "TargetNotFound"
            policy.say("Accepted", False, reason, policy.said())
        elif found:
            policy.say("Accepted", True, "Accepted", "Policy has been accepted.")

    def _say_agent(self, policy: Object, wanted: list[Target], found: list[Target]) -> None:
        missing = [str(target) for target in wanted if target not in found]
        others = policy.said("policy-target-missing")
        if others:
            policy.say("Accepted", False, "Invalid", others)
            policy.say("Attached", False, "Pending", "Policy is not attached due to invalid status")
            return
        if policy.partly:
            policy.say("Accepted", True, "PartiallyValid", "; ".join(policy.partly))
        else:
            policy.say("Accepted", True, "Valid", "Policy accepted")
        if missing:
            policy.say("Attached", False, "Pending", f"Missing targets: {', '.join(missing)}")
        else:
            policy.say("Attached", True, "Attached", "Attached to all targets")

    @property
    def _in_cluster(self) -> bool:
        return self._options.controller is not None


ATTACHING: Final = ("targetRef", "targetRefs", "targetSelectors", "mergeType")
"""What a policy says of itself alone."""


def patched(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386)."""
    found = dict(below)
    for key, value in above.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            inside = found.get(key)
            found[key] = patched(dict(inside) if isinstance(inside, Mapping) else {}, value)
        else:
            found[key] = value
    return found


def _names_others(spec: Mapping[str, Any]) -> bool:
    """Whether it names a Secret or a ConfigMap, which is looked for in the namespace of the policy."""
    return any(
        key in ("clientSecret", "clientIDRef", "valueRef")
        or (isinstance(value, Mapping) and _names_others(value))
        or (
            isinstance(value, list)
            and any(isinstance(each, Mapping) and _names_others(each) for each in value)
        )
        for key, value in spec.items()
    )


def _sound(policy: Object, terms: Terms, internal: bool) -> Terms:
    """The terms without issuers that are none, or must not be asked; the policy is told so."""
    sound = []
    for issuer in terms.issuers:
        inside = [] if internal else [url for url in issuer.asked if is_internal(url)]
        if inside:
            hint = "give its public address; --allow-internal-issuers lets policies name such addresses"
            message = "names an address of this machine or its link"
            policy.complain("policy-internal", message, ("spec",), got=inside[0], hint=hint)
            continue
        try:
            issuer.provider("any", Where())
            sound.append(issuer)
        except ConfigError as error:
            for problem in error.problems:
                policy.complain(
                    "policy-issuer", problem.message, ("spec",), got=issuer.issuer, hint=problem.hint
                )
    return replace(terms, issuers=tuple(sound))

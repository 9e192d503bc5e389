"""
Safety policies as they are written: manifests of `SafetyPolicy` (governance.aip.io/v1alpha1), or a list under
`safety-policies` in a file.

    safety-policies:
      - name: payments
        only-listed: true                       # what no rule fits is denied
        approvals: 2                            # people who must agree, where a rule asks for approval
        reviewer-groups: [sre]
        rules:
          - {agents: [aip-agent-1], actions: [read-*], then: Allow}
          - {agents: [aip-agent-*], actions: [scale-down], targets: ["k8s://prod/**"], then: RequireApproval}
          - {when: 'request.spec.reason == ""', then: Deny, message: say why}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from wardgate.cel import syntax_error
from wardgate.dialects._native_place import Building
from wardgate.dialects._native_values import duration
from wardgate.document import Path
from wardgate.problems import shown
from wardgate.safety import Action, Per, Rate, SafetyPolicy, SafetyRule, TimeWindow

GROUP: Final = "governance.aip.io"
APPROVALS: Final = "wardgate.dev/approvals"
REVIEWER_GROUPS: Final = "wardgate.dev/reviewer-groups"

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def policies(building: Building) -> Iterator[SafetyPolicy]:
    """Those of one document; what is wrong is in the building's problems."""
    data = building.document.data
    if not isinstance(data, Mapping):
        building.complain(
            "safety-form", "is no SafetyPolicy", (), hint="kind SafetyPolicy, or safety-policies: […]"
        )
    elif "apiVersion" in data:
        yield from _manifest(building, data)
    else:
        yield from listed(building, data, ())


# --- What both ways of writing share


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


def _expression(text: str) -> str:
    if why := syntax_error(text):
        raise PydanticCustomError("cel", "{why}", {"why": why})
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise PydanticCustomError("zone", "is no time zone") from error
    return name


def _minute(value: object) -> int:
    """`22:00` is 1320."""
    hours, colon, minutes = str(value).partition(":")
    if colon and hours.isdigit() and minutes.isdigit() and len(minutes) == 2:
        found = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and found <= 24 * 60:
            return found
    raise PydanticCustomError("time", "is no time of day such as '22:00'")


Expression = Annotated[str, Field(min_length=1), AfterValidator(_expression)]
Minute = Annotated[int, BeforeValidator(_minute)]


class _Window(_Strict):
    days: list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]] = Field(
        default=list(DAYS), min_length=1
    )
    begins: Minute = Field(default=0, alias="from")
    ends: Minute = Field(default=24 * 60, alias="to")
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"

    def as_window(self) -> TimeWindow:
        days = tuple(sorted(DAYS.index(day) for day in self.days))
        return TimeWindow(days=days, begins=self.begins, ends=self.ends, zone=self.timezone)


class _Rate(_Strict):
    limit: int = Field(ge=0)
    window: Annotated[timedelta, BeforeValidator(duration)] = timedelta(hours=1)
    per: Per = Per.AGENT

    def as_rate(self) -> Rate:
        return Rate(limit=self.limit, window=self.window, per=self.per)


# --- A list in a file


class _Rule(_Strict):
    name: str = ""
    agents: list[str] = []
    actions: list[str] = []
    targets: list[str] = []
    when: Expression | None = None
    window: _Window | None = None
    rate: _Rate | None = None
    then: Action
    message: str | None = None


class _Policy(_Strict):
    name: str = Field(min_length=1)
    only_listed: bool = Field(default=False, alias="only-listed")
    fails_open: bool = Field(default=False, alias="fails-open")
    approvals: int = Field(default=1, ge=1, le=20)
    reviewer_groups: list[str] = Field(default=[], alias="reviewer-groups")
    rules: list[_Rule] = Field(min_length=1)


class _File(_Strict):
    policies: list[_Policy] = Field(alias="safety-policies", min_length=1)


def listed(building: Building, data: Mapping[str, Any], at: Path) -> Iterator[SafetyPolicy]:
    """Those under the key `safety-policies` of `data`, which stands at this place."""
    file = _checked(building, _File, data, at)
    for index, policy in enumerate(file.policies if file else []):
        place: Path = (*at, "safety-policies", index)
        yield SafetyPolicy(
            name=policy.name,
            rules=tuple(
                SafetyRule(
                    name=rule.name or f"rules[{number}]",
                    action=rule.then,
                    expression=rule.when,
                    agents=tuple(rule.agents),
                    actions=tuple(rule.actions),
                    targets=tuple(rule.targets),
                    window=rule.window.as_window() if rule.window else None,
                    rate=rule.rate.as_rate() if rule.rate else None,
                    message=rule.message,
                    where=building.where((*place, "rules", number)),
                )
                for number, rule in enumerate(policy.rules)
            ),
            fails_open=policy.fails_open,
            listed_only=policy.only_listed,
            approvals=policy.approvals,
            reviewer_groups=tuple(policy.reviewer_groups),
            where=building.where(place),
        )


# --- Manifests


class _ManifestRule(_Strict):
    name: str = Field(min_length=1)
    type: Literal["StateEvaluation", "TimeWindow", "RateLimit"]
    action: Action
    message: str | None = None
    expression: Expression | None = None
    config: dict[str, Any] | None = None


class _Spec(_Strict):
    selector: dict[str, Any] = Field(default={}, alias="governedResourceSelector")
    context: str = Field(default="", alias="contextType")
    rules: list[_ManifestRule] = Field(min_length=1)
    failure: Literal["FailClosed", "FailOpen"] = Field(default="FailClosed", alias="failureMode")


def _manifest(building: Building, data: Mapping[str, Any]) -> Iterator[SafetyPolicy]:
    group, kind = str(data["apiVersion"]).partition("/")[0], data.get("kind")
    if group != GROUP or kind != "SafetyPolicy":
        hint = "of governance.aip.io only SafetyPolicy is read here"
        building.complain(
            "safety-kind", "is of a kind that is not read", ("kind",), got=shown(str(kind)), hint=hint
        )
        return
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not name:
        building.complain("safety-form", "has no name", ("metadata", "name"))
        return
    spec = _checked(building, _Spec, data.get("spec"), ("spec",))
    if spec is None:
        return
    for key, found in (("governedResourceSelector", spec.selector), ("contextType", spec.context)):
        if found:  # leaving it out would make the policy hold for more, or its rules see less
            hint = "select by targets in safety-policies, or by request.spec.target.uri in the expression"
            building.complain("safety-unsupported", "is not evaluated here", ("spec", key), hint=hint)
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    said = annotations if isinstance(annotations, Mapping) else {}
    yield SafetyPolicy(
        name=name,
        rules=tuple(_manifest_rule(building, rule, index) for index, rule in enumerate(spec.rules)),
        fails_open=spec.failure == "FailOpen",
        approvals=_approvals(building, said.get(APPROVALS)),
        reviewer_groups=tuple(
            each.strip() for each in str(said.get(REVIEWER_GROUPS, "")).split(",") if each.strip()
        ),
        where=building.where(()),
    )


def _approvals(building: Building, said: object) -> int:
    if said is None:
        return 1
    if str(said).isdigit() and 1 <= int(str(said)) <= 20:
        return int(str(said))
    place: Path = ("metadata", "annotations", APPROVALS)
    building.complain("safety-form", "is no number from 1 to 20", place, got=shown(str(said)))
    return 1


def _manifest_rule(building: Building, rule: _ManifestRule, index: int) -> SafetyRule:
    place: Path = ("spec", "rules", index)
    window = rate = None
    if rule.type == "TimeWindow" and rule.config:
        made = _checked(building, _Window, rule.config, (*place, "config"))
        window = made.as_window() if made else None
    elif rule.type == "RateLimit" and rule.config:
        counted = _checked(building, _Rate, rule.config, (*place, "config"))
        rate = counted.as_rate() if counted else None
    elif rule.config:
        building.complain("safety-unsupported", "is not read for StateEvaluation", (*place, "config"))
    if rule.expression is None and window is None and rate is None:
        hint = "an expression; of a TimeWindow config (days, from, to, timezone), of a RateLimit (limit, window, per)"
        building.complain("safety-form", "asks for nothing", place, hint=hint)
    return SafetyRule(
        name=rule.name,
        action=rule.action,
        expression=rule.expression,
        window=window,
        rate=rate,
        message=rule.message,
        where=building.where(place),
    )


# --- Problems


def _checked(building: Building, kind: type[Any], data: object, place: Path) -> Any:
    """The model, or None with a problem for each thing that is wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        for each in error.errors():
            path = (*place, *_path(each["loc"], data))
            building.complain("safety-form", _words(each), path, got=_got(each))
        return None


def _path(loc: Sequence[int | str], data: object) -> Path:
    """A model's place in the document; names of types that pydantic puts between are left out."""
    found: list[int | str] = []
    for part in loc:
        inside = (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list) and isinstance(part, int)
        )
        if inside or part is loc[-1]:
            found.append(part)
            data = data[part] if inside else None  # type: ignore[index]
    return tuple(found)


def _words(each: Any) -> str:
    match each["type"]:
        case "extra_forbidden":
            return "is no key here"
        case "missing":
            return "is missing"
        case _:
            return str(each["msg"]).replace("Input should be", "should be")


def _got(each: Any) -> str:
    value = each["input"]
    return (
        shown(str(value))
        if isinstance(value, str | int | float | bool) and each["type"] != "extra_forbidden"
        else ""
    )

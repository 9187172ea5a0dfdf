"""Asset checks from the contracts' quality rules: ERROR blocks what is built from the dataset, WARNING reports."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.metadata import asset_key, identifier
from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset, QualityRule, Severity

if TYPE_CHECKING:
    from pista.ingest.upkeep import Level
    from pista.warehouse.quality import RuleResult

QUARANTINE_CHECK = "quarantine_within_threshold"


def check_key(dataset: str, rule: QualityRule) -> dg.AssetCheckKey:
    """The check of a rule; its name reads as the assertion that it makes."""
    return dg.AssetCheckKey(asset_key(dataset), identifier(rule.name))


def check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """One check a rule."""
    return [
        dg.AssetCheckSpec(
            identifier(rule.name),
            asset=asset_key(dataset.name),
            description=rule.description or None,
            blocking=rule.severity is Severity.ERROR,
            metadata={"rule": expectation(rule)},
        )
        for rule in dataset.quality
    ]


def check_result(dataset: str, result: "RuleResult") -> dg.AssetCheckResult:
    """The outcome of a rule, with the value beside what the contract expects of it."""
    rule = result.rule
    verdict = "holds" if result.passed else "does not hold"
    return dg.AssetCheckResult(
        check_name=identifier(rule.name),
        asset_key=asset_key(dataset),
        passed=bool(result.passed),
        severity=dg.AssetCheckSeverity.ERROR if rule.severity is Severity.ERROR else dg.AssetCheckSeverity.WARN,
        description=f"{expectation(rule)}: {verdict}, it is {result.value:g} {rule.unit}.",
        metadata={"value": float(result.value), "threshold": str(rule.threshold), "operator": rule.operator},
    )


def expectation(rule: QualityRule) -> str:
    """A rule in one line: ``nullValues of carrier mustBe 0 rows``."""
    subject = rule.metric or "query"
    of = f" of {rule.column}" if rule.column else ""
    return f"{subject}{of} {rule.operator} {rule.threshold} {rule.unit}"


def source_checks(datasets: Iterable[Dataset]) -> list[dg.AssetChecksDefinition]:
    """One op a source dataset evaluates its rules and the level of its quarantine.

    The rules of a mart are evaluated by its build, before COMMIT.
    """
    return [_checks_of(dataset) for dataset in datasets if dataset.is_source]


def quarantine_spec(dataset: Dataset) -> dg.AssetCheckSpec:
    """The check that tells somebody before quarantine becomes a place to forget records in."""
    return dg.AssetCheckSpec(
        QUARANTINE_CHECK,
        asset=asset_key(dataset.name),
        description="Open records in quarantine, of those and the records loaded in the last 24 hours, are at most "
        f"{dataset.quarantine_share:.0%}.",
    )


def quarantine_result(dataset: str, level: "Level") -> dg.AssetCheckResult:
    """The level, and the command that shows the records."""
    return dg.AssetCheckResult(
        check_name=QUARANTINE_CHECK,
        asset_key=asset_key(dataset),
        passed=level.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{level.open} records are in quarantine, beside {level.loaded} loaded in the last 24 hours. "
        f"`pista quarantine list {dataset}` shows them.",
        metadata={"open": level.open, "loaded": level.loaded, "share": level.share, "threshold": level.allowed},
    )


def _checks_of(dataset: Dataset) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"check_{dataset.name}", specs=[*check_specs(dataset), quarantine_spec(dataset)], can_subset=True
    )
    def check(
        context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.AssetCheckResult]:
        chosen = [
            rule for rule in dataset.quality if check_key(dataset.name, rule) in context.selected_asset_check_keys
        ]
        if chosen:
            for result in platform.evaluate(replace(dataset, quality=tuple(chosen))):
                yield check_result(dataset.name, result)
        if dg.AssetCheckKey(asset_key(dataset.name), QUARANTINE_CHECK) in context.selected_asset_check_keys:
            yield quarantine_result(dataset.name, platform.quarantine_level(dataset))

    return check


def failed_blocking(
    instance: dg.DagsterInstance, platform: Platform, inputs: Sequence[Dataset]
) -> dict[str, list["RuleResult"]]:
    """Blocking rules that keep a mart from being built: last known as failed, and failing still.

    Only a rule whose last verdict was a failure is evaluated again, so the gate costs nothing
    where all is well, and opens by itself once the data are mended.
    """
    found = {}
    for dataset in inputs:
        failed = [
            rule
            for rule in dataset.quality
            if rule.severity is Severity.ERROR and _last_failed(instance, check_key(dataset.name, rule))
        ]
        if failed:
            still = [one for one in platform.evaluate(replace(dataset, quality=tuple(failed))) if not one.passed]
            if still:
                found[dataset.name] = still
    return found


def _last_failed(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool:
    record = instance.get_latest_asset_check_evaluation_record(key)
    return record is not None and record.status.name == "FAILED"

"""Marts as assets: each build publishes what changed, and the contract's blocking rules decide before COMMIT."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_project.automation import mart_condition
from dagster_project.checks import check_result, check_specs, expectation, failed_blocking
from dagster_project.metadata import (
    asset_key,
    definition_metadata,
    description,
    freshness_policy,
    identifier,
    kinds,
    owners,
    tags,
)
from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset, Severity
from pista.settings import Settings

if TYPE_CHECKING:
    from pista.warehouse.marts import MartReport


class MartConfig(dg.Config):
    """Configuration of one build."""

    full_refresh: bool = False


def mart_asset(mart: Dataset, datasets: Mapping[str, Dataset], settings: Settings) -> dg.AssetsDefinition:
    """The asset of a mart, downstream of every dataset it reads."""
    inputs = [datasets[one.dataset] for one in mart.inputs]

    @dg.asset(
        key=asset_key(mart.name),
        deps=[asset_key(one.dataset) for one in mart.inputs],
        description=description(mart),
        metadata=definition_metadata(mart, settings),
        group_name=identifier(mart.domain),
        owners=owners(mart),
        tags=tags(mart),
        kinds=kinds(mart),
        freshness_policy=freshness_policy(mart),
        automation_condition=mart_condition(mart),
        check_specs=check_specs(mart),
        code_version=mart.version,
        output_required=False,  # a paused mart is not built
    )
    def build(
        context: dg.AssetExecutionContext, config: MartConfig, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        # open from the first look to the last event: without it the lag sensor takes a long run for dead
        with platform.mart_session(mart.name) as session:
            if (pause := platform.find_pause(mart.name)) is not None:
                context.log.warning("Not built: %s is %s.", mart.name, pause)
                # Dagster wants a result for every check it planned: those of what is served
                yield from (check_result(mart.name, result) for result in platform.evaluate(mart))
                return
            blocked = failed_blocking(context.instance, platform, inputs)
            if blocked:
                rules = "; ".join(
                    f"{name}: {one.rule.name} ({expectation(one.rule)}, it is {one.value:g})"
                    for name, results in blocked.items()
                    for one in results
                )
                raise dg.Failure(
                    f"Not built, for its inputs break their contract: {rules}. "
                    "The last good version goes on being served.",
                    allow_retries=False,
                )
            report = platform.build_mart(mart, session, config.full_refresh)
            # a build with nothing to do measures nothing, and Dagster wants a result for every check it planned
            checks = [check_result(mart.name, result) for result in report.rules or platform.evaluate(mart)]
            if not report.published:
                yield from checks
                broken = [one.rule for one in report.rules if not one.passed and one.rule.severity is Severity.ERROR]
                raise dg.Failure(
                    f"Not published: {', '.join(rule.name for rule in broken)}. The last good version goes on being "
                    "served; the changed slices wait for the next build.",
                    allow_retries=False,
                )
            yield dg.MaterializeResult(
                asset_key=asset_key(mart.name),
                metadata=_metadata(report, platform.row_count(mart.name)),
                check_results=checks,
            )

    return build


def _metadata(report: "MartReport", row_count: int | None) -> dict[str, Any]:
    names = ("slices", "inserted", "updated", "deleted", "unchanged")
    found: dict[str, Any] = {name: getattr(report, name) for name in names}
    if report.version is not None:  # a build that changed nothing publishes no version
        found["version"] = report.version
    found["seconds"] = round(report.seconds, 3)
    if row_count is not None:
        found["dagster/row_count"] = row_count
    return found

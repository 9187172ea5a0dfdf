"""The lag sensor: it looks at every topic in one round trip and keeps at most one live drain on each dataset."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dagster_project.backoff import Asks
from dagster_project.errors import DatabaseError, sentence
from dagster_project.groups import SHARE_TAG, drain_job
from dagster_project.jobs import BUILD_MARTS, Jobs
from dagster_project.liveness import Moment, Run, at_work, judge_all
from dagster_project.metadata import asset_key
from dagster_project.planning import label, number, part_of, plan_drains, plan_marts
from dagster_project.resources import Platform
from dagster_project.state import close_books, observe, unfinished_runs
from pista.contracts.dataset import Dataset
from pista.ingest.groups import Group
from pista.ingest.share import WHOLE, Share
from pista.settings import Settings

if TYPE_CHECKING:
    from pista.ingest.lag import Lag

logger = logging.getLogger(__name__)

INTERVAL = 5  # seconds; the daemon's own loop is no faster
PRIORITY = "10"  # a drain leaves Dagster's queue before the builds and checks that wait there
LONGEST_TAG = 500  # characters; Dagster's index on tags refuses values of about 2,700 bytes


def lag_sensor(
    groups: Sequence[Group], marts: Sequence[Dataset], jobs: Jobs, settings: Settings
) -> list[dg.SensorDefinition]:
    """The sensor, or none where there is nothing to drain."""
    if not groups:
        return []
    sources = [dataset for group in groups for dataset in group.datasets]
    names = {asset_key(dataset.name): dataset.name for dataset in (*sources, *marts)}
    members = {drain_job(group.name): frozenset(one.name for one in group.datasets) for group in groups}
    members[BUILD_MARTS] = frozenset(mart.name for mart in marts)
    runs_wanted = [(group, share) for group in groups for share in group.shares]
    targets = [jobs[name] for name in members if name in jobs]

    @dg.sensor(
        name="lag",
        jobs=targets,
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Compares topic ends with the ledger and keeps one live drain run on what lags, with a successor "
        "before it ends; reports dead runs, and asks for marts whose changes wait too long.",
    )
    def lag(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
        from kafka.errors import KafkaError
        from psycopg import Error, OperationalError

        now = time.time()
        asks = Asks.parse(context.cursor)
        requests: list[dg.RunRequest] = []
        sentences: list[str] = []
        try:
            runs = unfinished_runs(context.instance, names, members)
            with platform.connect("pista sensor") as connection:
                seen = observe(connection, [run.run_id for run in runs], [mart.name for mart in marts])
                moment = Moment(now, restarted=now - seen.uptime)
                verdicts = judge_all(runs, seen.drains, seen.sessions, moment)
                for verdict in verdicts:
                    if verdict.dead is not None:
                        _report_dead(context.instance, verdict.run, verdict.dead)
                        sentences.append(f"{verdict.run} is dead: {verdict.dead}.")
                close_books(connection)
            work = at_work(verdicts, seen.drains, seen.sessions)
            plan = plan_marts(marts, seen.waiting, work, asks, moment)
            sentences += plan.sentences
            requests += [_request_mart(mart) for mart in plan.request]
            try:
                lags = platform.measure_lag(sources)
            except (KafkaError, RuntimeError) as error:  # the client raises both; the marts are asked for all the same
                sentences.append(
                    f"Kafka at {settings.kafka_bootstrap} does not answer ({type(error).__name__}: {error}); "
                    f"looking again in {INTERVAL} s."
                )
                logger.warning("%s", sentences[-1])
            else:
                for group, share in runs_wanted:
                    plan = plan_drains(group.datasets, lags, work, asks, moment, share)
                    sentences += plan.sentences
                    if plan.request:
                        requests.append(_request_drain(group.name, share, plan.request, lags))
                lagging = {label(name, share) for name, lag in lags.items() if lag.records for _, share in runs_wanted}
                asks.keep_only(lagging | {one.mart for one in seen.waiting})
        except OperationalError as error:
            sentences.append(f"PostgreSQL does not answer ({sentence(error)}); looking again in {INTERVAL} s.")
            logger.warning("%s", sentences[-1])
        except Error as error:
            raise DatabaseError(sentence(error)) from None
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(" ".join(sentences)),
            cursor=asks.dump(),
        )

    return [lag]


def _request_drain(group: str, share: Share, names: Sequence[str], lags: Mapping[str, "Lag"]) -> dg.RunRequest:
    behind = ", ".join(
        f"{lag.dataset} {number(lag.records)}" for name in names if (lag := part_of(lags[name], share)).records
    )
    tags = {"pista/group": group, "pista/lag": behind[:LONGEST_TAG], "dagster/priority": PRIORITY}
    return dg.RunRequest(
        job_name=drain_job(group),
        asset_selection=[asset_key(name) for name in names],
        asset_check_keys=[],  # not naming any would run them all
        tags=tags if share == WHOLE else {**tags, SHARE_TAG: str(share)},
    )


def _request_mart(mart: str) -> dg.RunRequest:
    return dg.RunRequest(
        job_name=BUILD_MARTS, asset_selection=[asset_key(mart)], tags={"pista/mart": mart, "pista/reason": "overdue"}
    )


def _report_dead(instance: dg.DagsterInstance, run: Run, evidence: str) -> None:
    record = instance.get_run_by_id(run.run_id)
    if record is not None and not record.is_finished:
        message = f"Reported as failed by the lag sensor: {evidence}."
        logger.warning("%s: %s", run, message)
        instance.report_run_failed(record, message)

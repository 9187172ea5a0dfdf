"""Which runs are really alive. Dagster does not know: after a power cut it shows the old run as STARTED for ever.

Evidence, in this order: a drain of the run beats in ``ingest.drains``; it holds the session of one of
its marts; the run waits in Dagster's queue; or it was launched a moment ago. All pure functions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import dagster as dg

from pista.ingest.share import WHOLE, Share

BEAT_TIMEOUT = 15.0  # seconds; a drain beats every 2
ORPHAN_TIMEOUT = 6.0  # seconds, where Dagster already knows that the run is over, as it does of a killed process
LAUNCH_GRACE = 120.0  # seconds from launch to the first beat: a pod may have to pull its image
HANDOVER = 30.0  # seconds before the end of a drain at which its successor is requested
SETTLE = 15.0  # seconds after a restart in which a run of before may still show a sign of life

UNFINISHED = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a decision is made; Unix times.

    The restart is that of the database server: it shows a power cut, after which no launch under way
    arrives any more, and unlike the start of the code server it does not move when code is reloaded.
    """

    now: float
    restarted: float


class Work(NamedTuple):
    """What somebody can be at work on: a mart, a dataset, or a share of its partitions."""

    name: str
    share: Share = WHOLE


@dataclass(frozen=True, slots=True)
class Drain:
    """A row of ``ingest.drains``."""

    run_id: str
    work: Work
    ended: bool
    age: float  # seconds since the last beat, or since the end
    ends_in: float | None = None  # seconds; None: not known yet

    @property
    def beats(self) -> bool:
        """Whether it is at work."""
        return not self.ended and self.age < BEAT_TIMEOUT

    @property
    def leaves(self) -> bool:
        """Whether it is at work, and so near to its end that its successor has to start."""
        return self.beats and self.ends_in is not None and self.ends_in < HANDOVER


@dataclass(frozen=True, slots=True)
class Run:
    """A run that Dagster does not show as finished."""

    run_id: str
    status: dg.DagsterRunStatus
    works: frozenset[Work]  # that it was asked for
    changed_at: float  # Unix time of its last change of status

    def __str__(self) -> str:
        """The id as the UI abbreviates it."""
        return f"run {self.run_id[:8]}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What of a run can be relied on."""

    run: Run
    covers: frozenset[Work]  # that nobody else needs to take up
    dead: str | None = None  # the evidence, if it is to be reported as failed


def judge(run: Run, drains: Sequence[Drain], sessions: Collection[str], moment: Moment) -> Verdict:
    """Decide on one run.

    Args:
        run: the run.
        drains: its rows in ``ingest.drains``.
        sessions: marts that are being built at this moment.
        moment: of the decision.
    """
    building = frozenset(work for work in run.works if work.name in sessions)
    beating = frozenset(drain.work for drain in drains if drain.beats)
    staying = beating - frozenset(drain.work for drain in drains if drain.leaves)
    begun = frozenset(drain.work for drain in drains)
    silence = moment.now - run.changed_at
    from_before = run.changed_at < moment.restarted <= moment.now - SETTLE
    young = silence < LAUNCH_GRACE and not from_before
    if run.status is dg.DagsterRunStatus.QUEUED:
        return Verdict(run, run.works)
    if beating or building:
        # what has not begun is about to: all drains of a run start together
        return Verdict(run, staying | building | (run.works - begun if young else frozenset()))
    if any(not drain.ended for drain in drains):
        age = min(drain.age for drain in drains if not drain.ended)
        return Verdict(run, frozenset(), f"its drains have not beaten for {age:.0f} s")
    if begun:
        # every drain ended: the run reports and finishes, or was killed while it did
        ended = min(drain.age for drain in drains)
        dead = f"its drains ended {ended:.0f} s ago and the run did not" if ended >= LAUNCH_GRACE else None
        return Verdict(run, frozenset(), dead)
    if young:
        return Verdict(run, run.works)
    why = "it was launched before the last restart" if from_before else "it was launched"
    return Verdict(run, frozenset(), f"{why}, {silence:.0f} s ago, and shows no sign of life")


def judge_all(runs: Iterable[Run], drains: Sequence[Drain], sessions: Collection[str], moment: Moment) -> list[Verdict]:
    """Decide on every run."""
    by_run: dict[str, list[Drain]] = {}
    for drain in drains:
        by_run.setdefault(drain.run_id, []).append(drain)
    return [judge(run, by_run.get(run.run_id, []), sessions, moment) for run in runs]


@dataclass(frozen=True, slots=True)
class AtWork:
    """Who is at work on what, and which drains are about to leave."""

    who: Mapping[Work, str]
    leaving: frozenset[Work] = frozenset()

    def on(self, work: Work) -> str | None:
        """Who is at work on it, be it in several shares; None if some of it is nobody's."""
        shares = {one.share: who for one, who in self.who.items() if one.name == work.name}
        if not work.share.is_within(shares):
            return None
        return next(who for share, who in shares.items() if share.overlaps(work.share))

    def leaves(self, work: Work) -> bool:
        """Whether a drain of some of it is about to end."""
        return any(one.name == work.name and one.share.overlaps(work.share) for one in self.leaving)


def at_work(verdicts: Sequence[Verdict], drains: Iterable[Drain], sessions: Collection[str]) -> AtWork:
    """What is covered and by whom; a beating drain counts even if Dagster shows its run as finished."""
    found = dict.fromkeys(map(Work, sessions), "a session")
    leaving = set()
    unfinished = {verdict.run.run_id for verdict in verdicts}
    for drain in drains:
        if drain.beats and (drain.run_id in unfinished or drain.age < ORPHAN_TIMEOUT):
            if drain.leaves:
                leaving.add(drain.work)
            else:
                found[drain.work] = f"run {drain.run_id[:8]}"
    for verdict in verdicts:
        for work in verdict.covers:
            found.setdefault(work, str(verdict.run))
    return AtWork(found, frozenset(leaving))

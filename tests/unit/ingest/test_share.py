"""Shares of a topic, the groups that drain them, and whose turn it is at a hand-over."""

from dataclasses import replace

import pytest

from pista.contracts.dataset import Dataset, Kind
from pista.contracts.problems import ContractError
from pista.ingest.groups import Group, drain_groups, most_runs
from pista.ingest.handover import Other, Turn, decide
from pista.ingest.share import WHOLE, Share

PLAIN = Dataset("flights", "1.0.0", Kind.UPSERT, (), ("id",), topic="nyc.flights")


@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_every_partition_belongs_to_exactly_one_share(of: int) -> None:
    shares = [Share(slot, of) for slot in range(of)]
    assert all(sum(share.owns(partition) for share in shares) == 1 for partition in range(40))


def test_a_share_is_written_and_read() -> None:
    assert str(Share(2, 3)) == "2/3"
    assert Share.parse("2/3") == Share(2, 3)


@pytest.mark.parametrize("text", ["3/3", "-1/2", "0/0", "1", "a/b", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no slot|invalid literal"):
        Share.parse(text)


def test_overlap_and_cover_agree_with_counting() -> None:
    shares = [Share(slot, of) for of in (1, 2, 3, 4, 6) for slot in range(of)]
    owned = {share: {p for p in range(24) if share.owns(p)} for share in shares}
    for one in shares:
        for two in shares:
            assert one.overlaps(two) == bool(owned[one] & owned[two])
            for three in shares:
                assert one.is_within([two, three]) == (owned[one] <= owned[two] | owned[three])
    assert not WHOLE.is_within([])


def test_datasets_drain_by_group_and_parallel_ones_alone() -> None:
    datasets = [
        replace(PLAIN, name="flights", parallelism=3),
        replace(PLAIN, name="weather", drain_group="slow"),
        replace(PLAIN, name="airlines"),
        replace(PLAIN, name="airports"),
        replace(PLAIN, name="daily", kind=Kind.MART),
    ]
    flights, weather, airlines, airports, _ = datasets
    assert drain_groups(datasets) == [
        Group("slow", (weather,)),
        Group("default", (airlines, airports)),
        Group("flights", (flights,), (Share(0, 3), Share(1, 3), Share(2, 3))),
    ]
    assert drain_groups([]) == []


def test_a_group_may_not_be_called_as_a_parallel_dataset() -> None:
    datasets = [replace(PLAIN, parallelism=2), replace(PLAIN, name="weather", drain_group="flights")]
    with pytest.raises(ContractError, match=r"weather: drain_group: the drains of flights are its own"):
        drain_groups(datasets)


def test_every_drain_has_room_for_its_successor() -> None:
    groups = drain_groups([replace(PLAIN, parallelism=3), replace(PLAIN, name="weather"), replace(PLAIN, name="other")])
    assert most_runs(groups) == 2 * (3 + 1) + 8


@pytest.mark.parametrize(
    ("others", "turn"),
    [
        pytest.param([], Turn.BEGIN, id="alone"),
        pytest.param([Other(WHOLE, True, 25.0)], Turn.WAIT, id="the one before is about to end"),
        pytest.param([Other(WHOLE, True, -5.0)], Turn.WAIT, id="it commits its last batch"),
        pytest.param([Other(WHOLE, True, -61.0)], Turn.BEGIN, id="it should have ended long ago"),
        pytest.param([Other(WHOLE, True, 3000.0)], Turn.LEAVE, id="it has long to go"),
        pytest.param([Other(WHOLE, True, None)], Turn.LEAVE, id="it has only begun"),
        pytest.param([Other(WHOLE, False, None)], Turn.BEGIN, id="a younger one waits for us"),
        pytest.param([Other(WHOLE, True, 25.0), Other(WHOLE, True, None)], Turn.WAIT, id="two successors"),
        pytest.param([Other(Share(0, 2), True, 3000.0)], Turn.BEGIN, id="half of it is nobody's"),
        pytest.param([Other(Share(0, 2), True, 3000.0), Other(Share(1, 2), True, None)], Turn.LEAVE, id="both halves"),
    ],
)
def test_whose_turn_it_is(others: list[Other], turn: Turn) -> None:
    assert decide(WHOLE, others) is turn

"""When a service that reads as a consumer group has finished."""

import time
from collections.abc import Callable

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.ingest.measure import ProgramFailedError
from benchmarks.ingest.topic import PARTITIONS, Topic

STALLED_SECONDS = 60.0


def group_finished(bootstrap: str, group: str, topic: Topic) -> Callable[[], bool]:
    """Whether a consumer group has committed all messages of a topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    places = [TopicPartition(topic.name, partition) for partition in range(PARTITIONS)]
    ends = {
        place.partition: future.result().offset
        for place, future in admin.list_offsets(dict.fromkeys(places, OffsetSpec.latest())).items()
    }

    committed: dict[int, int] = {}
    moved = time.monotonic()

    def finished() -> bool:
        nonlocal committed, moved
        (future,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]).values()
        try:
            found = {place.partition: place.offset for place in future.result().topic_partitions}
        except KafkaException:  # the coordinator of a new group is not there yet; what lasts ends as a stall
            found = committed
        if found != committed:
            committed, moved = found, time.monotonic()
        if time.monotonic() - moved > STALLED_SECONDS:
            raise ProgramFailedError(
                f"It has committed nothing for {STALLED_SECONDS:.0f} s, and stands at {committed}."
            )
        return all(committed.get(partition, 0) >= end for partition, end in ends.items() if end)

    return finished

"""dlt loads a topic: a resource of Arrow tables, CSV files, merge by key. Runs in an environment of its own.

Its verified Kafka source hands over one Python object a message; tables of many messages are dlt's documented fast way.
"""

import os
import sys

import dlt
import pyarrow as pa
import pyarrow.json
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from dlt.destinations import postgres

BATCH = 50_000
MOMENT = pa.timestamp("us", "UTC")
TYPES = {"flight_number": pa.int32(), "departure_delay": pa.int32(), "arrival_delay": pa.int32()}
TYPES |= {"air_time": pa.int32(), "distance": pa.int32(), "flight_date": pa.date32()}
TYPES |= dict.fromkeys(("scheduled_departure", "scheduled_arrival", "departure", "arrival", "event_time"), MOMENT)
COLUMNS = ("flight_id", "flight_date", "carrier", "flight_number", "tailnum", "origin", "dest", "status")
COLUMNS += ("scheduled_departure", "scheduled_arrival", "departure", "arrival", "departure_delay", "arrival_delay")
COLUMNS += ("air_time", "distance", "event_time")
SCHEMA = pa.schema([(name, TYPES.get(name, pa.string())) for name in COLUMNS])
# read as text what the reader would not take for a moment or a day, and cast
READ = pa.schema([(f.name, f.type if pa.types.is_integer(f.type) else pa.string()) for f in SCHEMA])


@dlt.resource(
    name="flights",
    write_disposition={"disposition": "merge", "strategy": "delete-insert"},
    primary_key="flight_id",
    columns={"event_time": {"dedup_sort": "desc"}},
    file_format="csv",
)
def flights(bootstrap: str, topic: str):
    """All messages that are there, as tables."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "dlt", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    missing = sum(consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in partitions)
    values: list[bytes] = []
    while missing > 0:
        found = [message.value() for message in consumer.consume(10_000, timeout=1.0)]
        missing -= len(found)
        values += found
        if values and (len(values) >= BATCH or missing <= 0):
            lines = pa.py_buffer(b"\n".join(values))
            options = pyarrow.json.ParseOptions(explicit_schema=READ)
            read = pyarrow.json.ReadOptions(block_size=lines.size + 1)
            yield pyarrow.json.read_json(pa.BufferReader(lines), read, options).cast(SCHEMA)
            values = []
    consumer.close()


def main() -> None:
    """One load."""
    bootstrap, topic = sys.argv[1:]
    pipeline = dlt.pipeline("bench", destination=postgres(os.environ["BENCH_DSN"]), dataset_name="public")
    print(pipeline.run(flights(bootstrap, topic)))


if __name__ == "__main__":
    main()

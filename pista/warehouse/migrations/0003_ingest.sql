-- The ledger: up to where each partition has been loaded, in the same database as the rows.
CREATE TABLE ingest.ledger (
    dataset     text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    partition   integer NOT NULL,
    topic       text NOT NULL,
    topic_id    text NOT NULL,
    epoch       integer NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL,
    order_time  timestamptz NOT NULL DEFAULT 'epoch',
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, partition)
) WITH (fillfactor = 50);
COMMENT ON COLUMN ingest.ledger.topic_id IS 'The broker''s identity of the topic: a recreated topic has another';
COMMENT ON COLUMN ingest.ledger.epoch IS 'Counts accepted recreations of the topic';
COMMENT ON COLUMN ingest.ledger.order_time IS 'Greatest record timestamp before next_offset in this partition';

CREATE TABLE ingest.batches (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset      text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    version      bigint NOT NULL,
    run_id       text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('drain', 'replay', 'retry')),
    records      bigint NOT NULL,
    bytes        bigint NOT NULL,
    loaded       bigint NOT NULL,
    quarantined  bigint NOT NULL,
    filtered     bigint NOT NULL DEFAULT 0,
    inserted     bigint NOT NULL,
    updated      bigint NOT NULL,
    deleted      bigint NOT NULL,
    unchanged    bigint NOT NULL,
    ambiguous    bigint NOT NULL DEFAULT 0,
    lag          bigint,
    read_ms      double precision NOT NULL,
    decode_ms    double precision NOT NULL,
    write_ms     double precision NOT NULL,
    latency_ms   double precision,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN ingest.batches.loaded IS 'Records that went to raw; records = loaded + quarantined + filtered';
COMMENT ON COLUMN ingest.batches.unchanged IS 'Loaded records that changed no row: older, equal, or superseded within the batch';
COMMENT ON COLUMN ingest.batches.ambiguous IS 'Local times that exist twice and were read as the first';
COMMENT ON COLUMN ingest.batches.latency_ms IS 'From the oldest record''s timestamp to this transaction';
CREATE INDEX batches_by_dataset ON ingest.batches (dataset, id);

-- Each batch, partition by partition: what reconciliation adds up and replay starts from.
CREATE TABLE ingest.ranges (
    batch_id         bigint NOT NULL REFERENCES ingest.batches ON DELETE CASCADE,
    dataset          text NOT NULL,
    epoch            integer NOT NULL,
    partition        integer NOT NULL,
    start_offset     bigint NOT NULL,
    end_offset       bigint NOT NULL,
    start_order_time timestamptz NOT NULL,
    delivered        bigint NOT NULL,
    loaded           bigint NOT NULL,
    quarantined      bigint NOT NULL,
    filtered         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (dataset, epoch, partition, start_offset),
    CHECK (end_offset > start_offset)
);

CREATE TABLE ingest.drains (
    run_id     text NOT NULL,
    dataset    text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at    timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    outcome    text,
    PRIMARY KEY (run_id, dataset)
) WITH (fillfactor = 50);
CREATE INDEX drains_alive ON ingest.drains (dataset, beat_at) WHERE ended_at IS NULL;

CREATE TABLE ingest.quarantine (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset        text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    topic          text NOT NULL,
    epoch          integer NOT NULL,
    partition      integer NOT NULL,
    "offset"       bigint NOT NULL,
    order_time     timestamptz NOT NULL,
    timestamp      timestamptz NOT NULL,
    key            bytea,
    value          bytea,
    headers        jsonb,
    reason         text NOT NULL,
    detail         text NOT NULL,
    column_name    text,
    run_id         text NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    resolved_at    timestamptz,
    UNIQUE (dataset, epoch, partition, "offset")
);
COMMENT ON COLUMN ingest.quarantine.reason IS 'One of the reasons of pista.ingest.reasons';
COMMENT ON COLUMN ingest.quarantine.resolved_at IS 'When a retry loaded the record';
CREATE INDEX quarantine_open ON ingest.quarantine (dataset, id) WHERE resolved_at IS NULL;

-- Append-only queue: a row a mart, slice and change. A build deletes exactly the rows it saw.
CREATE TABLE ingest.changed_slices (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mart      text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    slice     text NOT NULL,
    input     text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX changed_slices_by_mart ON ingest.changed_slices (mart, slice);

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ingest TO pista_ingest;

-- Raw tables are partitioned by load day. Only the owner may create partitions, so the ingest role asks through this function.
CREATE FUNCTION ingest.ensure_raw_partition(dataset text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' AS $$
DECLARE
    child text := dataset || '_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(format('raw.%I', child)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE TABLE raw.%I PARTITION OF raw.%I FOR VALUES FROM (%L) TO (%L)', child, dataset, day, day + 1);
EXCEPTION
    WHEN duplicate_table THEN
        NULL; -- another drain made it at this moment
    WHEN check_violation THEN
        NULL; -- rows of that day are in the DEFAULT partition already, and stay until maintenance moves them
END $$;
REVOKE ALL ON FUNCTION ingest.ensure_raw_partition(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingest.ensure_raw_partition(text, date) TO pista_ingest;

-- A place in the log, comparable as a whole: later epochs, then later order times, then partition and offset.
CREATE TYPE ingest.position AS (epoch integer, order_time timestamptz, partition integer, "offset" bigint);

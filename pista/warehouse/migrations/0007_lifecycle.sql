-- What a contract said when rows were read by it, so that a changed one can be compared field by field.
ALTER TABLE catalog.datasets ADD COLUMN shape jsonb;
COMMENT ON COLUMN catalog.datasets.shape IS
    'Where columns come from and what they accept, of the contract that is applied; NULL: applied before shapes were kept';

ALTER TABLE ingest.batches DROP CONSTRAINT batches_kind_check;
ALTER TABLE ingest.batches ADD CONSTRAINT batches_kind_check CHECK (kind IN ('drain', 'replay', 'retry', 'load'));
ALTER TABLE ingest.batches ADD COLUMN started_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN ingest.batches.started_at IS 'When its transaction began: loaded_at of its records in raw';

-- Files of history that were loaded. A record of a file has epoch -1, the load as its partition and the line as its offset.
CREATE TABLE ingest.loads (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset     text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    file        text NOT NULL,
    sha256      bytea NOT NULL,
    next_line   bigint NOT NULL DEFAULT 0,
    records     bigint NOT NULL DEFAULT 0,
    loaded      bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (dataset, sha256)
);
COMMENT ON COLUMN ingest.loads.next_line IS 'Where a load that was broken off goes on: lines before it are committed';
GRANT SELECT, INSERT, UPDATE ON ingest.loads TO pista_ingest;

-- Events of `merge: patch` that still decide something, a table a dataset.
CREATE SCHEMA patches;
COMMENT ON SCHEMA patches IS 'Partial events that still decide a field of a row, by key; a table for each dataset that is patched';
GRANT USAGE ON SCHEMA patches TO pista_ingest;

-- The fields of later events over those of earlier ones; a null that an event states stays a null.
CREATE AGGREGATE ingest.patched(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb, INITCOND = '{}');

-- Keys that were erased, as salted hashes: no replay, retry or rebuild brings them back.
CREATE TABLE ingest.erased (
    dataset    text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    key_hash   bytea NOT NULL,
    salt       bytea NOT NULL,
    positions  jsonb NOT NULL,
    erased_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, key_hash)
);
COMMENT ON COLUMN ingest.erased.positions IS
    'Partition to [epoch, offset]: records before are of the erased past, later ones are new data; files always are of the past';
GRANT SELECT ON ingest.erased TO pista_ingest;

-- Days of raw that retention took away: what cannot be computed from raw any more.
CREATE TABLE ingest.raw_dropped (
    dataset    text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    day        date NOT NULL,
    records    bigint NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, day)
);
GRANT SELECT ON ingest.raw_dropped TO pista_ingest;

-- Drops the raw partitions of whole days before `day`, and says how many.
CREATE FUNCTION ingest.drop_raw_before(dataset text, day date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET lock_timeout = '2s' AS $$
#variable_conflict use_variable
DECLARE
    child text;
    of_day date;
    records bigint;
    dropped integer := 0;
BEGIN
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(format('raw.%I', dataset))
            AND c.relname ~ ('^' || dataset || '_\d{8}$') AND to_date(right(c.relname, 8), 'YYYYMMDD') < day
        ORDER BY c.relname
    LOOP
        of_day := to_date(right(child, 8), 'YYYYMMDD');
        EXECUTE format('SELECT count(*) FROM raw.%I', child) INTO records;
        EXECUTE format('DROP TABLE raw.%I', child);
        IF records > 0 THEN
            INSERT INTO ingest.raw_dropped AS r (dataset, day, records) VALUES (dataset, of_day, records)
                ON CONFLICT ON CONSTRAINT raw_dropped_pkey DO UPDATE SET records = r.records + excluded.records;
        END IF;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Gives each past day whose records lie in the DEFAULT partition a partition of its own, and says how many records moved.
CREATE FUNCTION ingest.settle_raw_default(dataset text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET lock_timeout = '2s' AS $$
#variable_conflict use_variable
DECLARE
    day date;
    child text;
    here bigint;
    moved bigint := 0;
BEGIN
    FOR day IN EXECUTE format(
        'SELECT DISTINCT loaded_at::date FROM raw.%I WHERE loaded_at < current_date ORDER BY 1', dataset || '_default')
    LOOP
        child := dataset || '_' || to_char(day, 'YYYYMMDD');
        EXECUTE format('CREATE TABLE raw.%I (LIKE raw.%I INCLUDING ALL)', child, dataset);
        EXECUTE format(
            'WITH gone AS (DELETE FROM raw.%I WHERE loaded_at >= %L AND loaded_at < %L RETURNING *) INSERT INTO raw.%I SELECT * FROM gone',
            dataset || '_default', day, day + 1, child);
        GET DIAGNOSTICS here = ROW_COUNT;
        EXECUTE format(
            'ALTER TABLE raw.%I ATTACH PARTITION raw.%I FOR VALUES FROM (%L) TO (%L)', dataset, child, day, day + 1);
        moved := moved + here;
    END LOOP;
    RETURN moved;
END $$;
REVOKE ALL ON FUNCTION ingest.drop_raw_before(text, date), ingest.settle_raw_default(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingest.drop_raw_before(text, date), ingest.settle_raw_default(text) TO pista_ingest;

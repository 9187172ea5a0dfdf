-- What a contract says, for readers that know no contract files.
CREATE TABLE catalog.datasets (
    name             text PRIMARY KEY,
    kind             text NOT NULL CHECK (kind IN ('upsert', 'append', 'mart')),
    contract_version text NOT NULL,
    contract_hash    text NOT NULL,
    description      text NOT NULL,
    domain           text NOT NULL,
    tags             text[] NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'active',
    owner            text,
    support          text,
    key              text[] NOT NULL,
    ordering         text,
    slice_column     text,
    topic            text,
    freshness        interval,
    retention        interval,
    served           boolean NOT NULL DEFAULT true,
    applied_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN catalog.datasets.key IS 'Columns of the primary key, in order; the API pages by them';
COMMENT ON COLUMN catalog.datasets.served IS 'False once the contract is gone: the table stays, the API no longer shows it';

CREATE TABLE catalog.columns (
    dataset      text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    position     integer NOT NULL,
    name         text NOT NULL,
    logical_type text NOT NULL,
    sql_type     text NOT NULL,
    nullable     boolean NOT NULL,
    description  text NOT NULL DEFAULT '',
    unit         text,
    enum         jsonb,
    minimum      jsonb,
    maximum      jsonb,
    min_length   integer,
    max_length   integer,
    pattern      text,
    examples     jsonb,
    PRIMARY KEY (dataset, name)
);
COMMENT ON TABLE catalog.columns IS 'Served columns only: what is personal or restricted is not listed here';

-- What every publication changes: narrow and updated in place.
CREATE TABLE catalog.versions (
    dataset      text PRIMARY KEY REFERENCES catalog.datasets ON DELETE CASCADE,
    version      bigint NOT NULL DEFAULT 0,
    epoch        uuid NOT NULL DEFAULT gen_random_uuid(),
    row_count    bigint NOT NULL DEFAULT 0,
    published_at timestamptz,
    as_of        timestamptz,
    blocked_by   text
) WITH (fillfactor = 50);
COMMENT ON COLUMN catalog.versions.version IS 'Counts publications; rows carry the one that last changed them in _version';
COMMENT ON COLUMN catalog.versions.epoch IS 'Renewed by a rebuild or restore: tokens and ETags of another epoch are void';
COMMENT ON COLUMN catalog.versions.as_of IS 'When the dataset was last known to hold all that its topic or its inputs held';
COMMENT ON COLUMN catalog.versions.blocked_by IS 'The quality rule that keeps a newer build of this mart from being served';

-- Which mart reads which dataset, and the column of the input that names the slice to rebuild.
CREATE TABLE catalog.mart_inputs (
    mart         text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    input        text NOT NULL,
    slice_column text,
    PRIMARY KEY (mart, input)
);
CREATE INDEX mart_inputs_by_input ON catalog.mart_inputs (input);

-- Tombstones, kept so that an older event that comes late can never bring a row back.
CREATE TABLE catalog.deleted (
    dataset    text NOT NULL REFERENCES catalog.datasets ON DELETE CASCADE,
    key        text NOT NULL,
    ordering   text,
    epoch      integer NOT NULL,
    order_time timestamptz NOT NULL,
    partition  integer NOT NULL,
    "offset"   bigint NOT NULL,
    version    bigint,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, key)
);
COMMENT ON COLUMN catalog.deleted.key IS 'The key columns as a JSON array';
COMMENT ON COLUMN catalog.deleted.ordering IS 'Greatest ordering value among the events that this tombstone outlived';
COMMENT ON COLUMN catalog.deleted.version IS 'Version that deleted the row; NULL while a newer event has the key alive';
CREATE INDEX deleted_by_version ON catalog.deleted (dataset, version) WHERE version IS NOT NULL;

GRANT SELECT ON ALL TABLES IN SCHEMA catalog TO pista_ingest;
GRANT UPDATE (version, row_count, published_at, as_of, blocked_by) ON catalog.versions TO pista_ingest;
GRANT INSERT, UPDATE, DELETE ON catalog.deleted TO pista_ingest;
GRANT SELECT ON catalog.datasets, catalog.columns, catalog.versions, catalog.mart_inputs TO pista_api;

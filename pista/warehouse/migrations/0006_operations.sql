-- Who did what, and why: written in the transaction of the effect, never changed afterwards.
CREATE TABLE ingest.audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    who     text NOT NULL,
    command text NOT NULL,
    dataset text,
    detail  jsonb NOT NULL DEFAULT '{}',
    reason  text
);
COMMENT ON COLUMN ingest.audit.who IS 'User and host of the command, and in parentheses the database user';
COMMENT ON COLUMN ingest.audit.dataset IS 'Its name, which outlives it: no foreign key';
CREATE INDEX audit_by_dataset ON ingest.audit (dataset, id);
GRANT SELECT, INSERT ON ingest.audit TO pista_ingest;

-- Where positions are of one history: a partition that goes on after a break has a new epoch from an offset on.
ALTER TABLE ingest.ledger
    ADD COLUMN epoch_offset bigint NOT NULL DEFAULT 0,
    ADD COLUMN reread_until bigint;
COMMENT ON COLUMN ingest.ledger.epoch_offset IS 'First offset of this epoch: what lies before was loaded under another';
COMMENT ON COLUMN ingest.ledger.reread_until IS
    'After a reset backwards: offsets before this one were loaded once already, under this epoch';

-- A batch of which too much was refused, until somebody mends the contract or accepts it.
CREATE TABLE ingest.floods (
    dataset       text PRIMARY KEY REFERENCES catalog.datasets ON DELETE CASCADE,
    partitions    integer[] NOT NULL,
    contract_hash text NOT NULL,
    sentence      text NOT NULL,
    found_at      timestamptz NOT NULL DEFAULT now(),
    accepted_at   timestamptz
);
COMMENT ON COLUMN ingest.floods.accepted_at IS 'When an operator let the next batch of these partitions go to quarantine';
GRANT SELECT, INSERT, UPDATE, DELETE ON ingest.floods TO pista_ingest;

-- An operator keeps a dataset from being loaded or built; what is there goes on being served.
ALTER TABLE catalog.datasets
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN paused_reason text;
COMMENT ON COLUMN catalog.datasets.paused_at IS 'Since when nothing is loaded or built; NULL: not paused';
GRANT UPDATE (paused_at, paused_reason) ON catalog.datasets TO pista_ingest;

ALTER TABLE ingest.quarantine ADD COLUMN discarded_at timestamptz;
COMMENT ON COLUMN ingest.quarantine.discarded_at IS 'When an operator gave the record up; it is resolved then, but not loaded';
COMMENT ON COLUMN ingest.quarantine.resolved_at IS 'When a later load took the record, or an operator gave it up';
CREATE INDEX quarantine_resolved ON ingest.quarantine (resolved_at) WHERE resolved_at IS NOT NULL;

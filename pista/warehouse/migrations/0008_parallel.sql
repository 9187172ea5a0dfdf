-- Drains of one dataset at once: each owns the partitions p with p % slots = slot. A run has one of them, so its key stays.
ALTER TABLE ingest.drains ADD COLUMN slot integer NOT NULL DEFAULT 0;
ALTER TABLE ingest.drains ADD COLUMN slots integer NOT NULL DEFAULT 1;
ALTER TABLE ingest.drains ADD COLUMN ends_at timestamptz;
ALTER TABLE ingest.drains ADD CHECK (slot >= 0 AND slot < slots);
COMMENT ON COLUMN ingest.drains.ends_at IS
    'When it will end at the latest; NULL: it waits for the drain before it to end, or has only begun';

-- Producers may be ahead of the contract: what they send beside it is counted, so that somebody can add it.
ALTER TABLE ingest.batches ADD COLUMN unknown_fields jsonb;
COMMENT ON COLUMN ingest.batches.unknown_fields IS
    'Fields that the contract does not know, each with the number of sampled records that have it; NULL: none seen';

-- The house: one schema for each concern. The roles exist already (pista.warehouse.roles makes them).
CREATE SCHEMA IF NOT EXISTS catalog;
CREATE SCHEMA ingest;
CREATE SCHEMA raw;
CREATE SCHEMA curated;
CREATE SCHEMA access;

COMMENT ON SCHEMA catalog IS 'Datasets, columns, versions, deleted keys: what the API knows of the contracts';
COMMENT ON SCHEMA ingest IS 'Ledger, batches, drains, quarantine, changed slices: how rows came to be';
COMMENT ON SCHEMA raw IS 'Every loaded record of a source dataset, as it was on the topic';
COMMENT ON SCHEMA curated IS 'The tables that are served';
COMMENT ON SCHEMA access IS 'API keys';

GRANT USAGE ON SCHEMA catalog, ingest, raw, curated TO pista_ingest;
GRANT USAGE ON SCHEMA catalog, curated, access TO pista_api;

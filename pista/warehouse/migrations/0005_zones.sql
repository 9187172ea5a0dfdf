-- Zones of local times decide what served rows mean, so a contract may not change them in silence.
ALTER TABLE catalog.datasets ADD COLUMN zones jsonb;
COMMENT ON COLUMN catalog.datasets.zones IS
    'Zone of each timestamp column whose values carry none; NULL: applied before zones were kept';

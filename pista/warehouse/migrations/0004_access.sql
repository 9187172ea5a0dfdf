-- API keys: only the hash is kept, and one function computes it for everybody.
CREATE TABLE access.keys (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name       text NOT NULL UNIQUE,
    hash       bytea NOT NULL UNIQUE,
    datasets   text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON COLUMN access.keys.datasets IS 'Datasets the key may read; NULL: all';

CREATE FUNCTION access.hash_key(secret text) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT sha256(convert_to(secret, 'UTF8')) $$;

-- No row for a key that is unknown, expired or revoked.
CREATE FUNCTION access.find_key(secret text)
RETURNS TABLE (id uuid, name text, datasets text[], expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.id, k.name, k.datasets, k.expires_at
    FROM access.keys k
    WHERE k.hash = access.hash_key(secret)
      AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
$$;
REVOKE ALL ON FUNCTION access.find_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION access.find_key(text), access.hash_key(text) TO pista_api;

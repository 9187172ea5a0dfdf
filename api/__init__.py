"""HTTP only: the catalog and the curated tables, served read only over PostgREST's read grammar."""

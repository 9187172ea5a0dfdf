"""Ingestion: from bytes on a topic to committed rows, exactly once."""

"""Warehouse: roles, migrations, tables, merging, quality and marts in PostgreSQL."""

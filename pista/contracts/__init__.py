"""Contracts: Open Data Contract Standard files, read strictly into one typed view."""

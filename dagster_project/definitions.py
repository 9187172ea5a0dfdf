"""The code location that Dagster loads: everything is made by ``build_defs`` from this process's settings."""

from dagster_project.build import build_defs
from pista.settings import get_settings

defs = build_defs(get_settings())

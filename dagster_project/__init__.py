"""Orchestration, and only that: what is known of datasets comes from contracts, what is done to them from ``pista``."""

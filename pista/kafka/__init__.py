"""Kafka: connection options, topics, and bounded reading of raw records."""

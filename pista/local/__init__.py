"""The laptop stack: embedded PostgreSQL and Kafka, and a replay of real flights."""

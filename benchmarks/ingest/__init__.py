"""From Kafka to PostgreSQL: Pista beside its peers, on one machine in one run."""

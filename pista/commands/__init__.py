"""The commands of `pista`, one module a topic, imported when called."""

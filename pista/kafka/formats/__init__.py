"""Formats: message values and keys of Avro, Protobuf or framed JSON, to plain JSON."""

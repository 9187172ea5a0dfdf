"""Pista: one contract file in, a served dataset out."""

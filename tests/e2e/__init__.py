"""End to end: the whole stack, as people use it."""

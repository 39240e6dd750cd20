"""The processes that run for long, and how they are started and ended."""

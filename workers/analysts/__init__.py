"""Prompts become results: what one analysis actor does, and the pool of them."""

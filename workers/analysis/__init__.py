"""Distances, edges, cliques and matches: pure functions on arrays."""

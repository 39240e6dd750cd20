"""Pure functions on numpy arrays: distances, cliques, verdicts and training matches."""

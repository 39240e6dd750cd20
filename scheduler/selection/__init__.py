"""Prompts chosen from a training set: those of copied pictures, of outliers, and at random."""

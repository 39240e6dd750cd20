"""Training sets: read in slices, indexed for the analysis, searched as a whole."""

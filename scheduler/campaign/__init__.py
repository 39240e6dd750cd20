"""One campaign: its file, its plan, its state, and what is kept of it."""

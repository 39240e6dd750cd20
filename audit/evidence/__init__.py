"""The bundle that proves a result to somebody else, and the checker that needs only Python."""

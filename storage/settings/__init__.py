"""The tables of a campaign file, as records."""

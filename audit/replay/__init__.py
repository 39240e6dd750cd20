"""Images made again, to see whether they are what was stored."""

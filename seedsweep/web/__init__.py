"""The pages that are served to people."""

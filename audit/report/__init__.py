"""Findings as pages, charts and files for people."""

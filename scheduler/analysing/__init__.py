"""Prompts that are ready are analysed, and again with other settings."""

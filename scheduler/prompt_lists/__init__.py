"""Prompts read from files as people keep them: lists, tables, and the settings in their cells."""

"""Cheap scores that order prompts by how likely they are memorised; the higher, the likelier."""

"""How Ray is joined."""

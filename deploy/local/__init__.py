"""The whole deployment on one machine, from packages and without containers."""

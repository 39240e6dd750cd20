"""The command line: it reads options, calls one function, and prints."""

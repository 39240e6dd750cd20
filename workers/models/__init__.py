"""Which model a campaign means: its fingerprint, its files, the plug-in that it names."""

"""Units are fed to the queues, and taken back from workers that are lost."""

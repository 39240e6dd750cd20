"""What calibrate, compare, duplication and verify conclude, with their intervals."""

"""What follows from results."""

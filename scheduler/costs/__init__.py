"""What a campaign will cost, before it is run."""

"""What decides and what people touch: plan, feed, drive, report, command line."""

"""What is durable, and the words for it."""

"""What makes a picture of a prompt and a seed."""

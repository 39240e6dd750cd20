"""The images, and what is installed in them."""

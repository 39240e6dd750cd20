"""What a GPU makes of seedsweep: each part a figure, on the product's own path."""

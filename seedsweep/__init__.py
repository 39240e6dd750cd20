"""Find the training images that an image-generation model has memorised."""

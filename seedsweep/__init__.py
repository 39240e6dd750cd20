"""Find the training images that an image-generation model has memorised."""

__version__ = "0.1.0"

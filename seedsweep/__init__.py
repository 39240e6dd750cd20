"""Find the training images that an image-generation model has memorised."""

import os

__version__ = "0.1.0"

# onnxruntime, which diffusers imports wherever it is installed, tells its maker of each model that
# it runs, and the hub's client of what it fetches for. Both look here as they are imported.
os.environ.update(ORT_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_TELEMETRY="1")

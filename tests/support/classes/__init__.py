"""Every text-to-image class of diffusers that can be made tiny, with random weights."""

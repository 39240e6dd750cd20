"""What a library says whenever tests import it, and which says nothing of them."""

import logging

FALLS_BACK = "requires torchvision (not installed); falling back"
"""transformers: which class it takes without torchvision. What commands say is not hushed: they
are processes of their own."""


def hush():
    """Have this process say it no more."""
    logger = logging.getLogger("transformers.utils.import_utils")
    logger.addFilter(lambda record: FALLS_BACK not in str(record.msg))

"""What is logged of prompts that are analysed."""

import logging

from seedsweep.workers.analysts.actor import Analysed
from seedsweep.workers.training.pictures import in_words, sentences_on

log = logging.getLogger(__name__)


def warn_of_corrupt(analysed: Analysed) -> None:
    """Say which objects of the prompt were left out."""
    for key in analysed.corrupt:
        log.warning("The object %s is corrupt; its images were left out.", key)


def warn_of_unread(analysed: Analysed, warned: set[str]) -> None:
    """Say what of the training set could not be read, once for each campaign."""
    campaign_id, training = analysed.request.campaign_id, analysed.training
    if training and sentences_on(training) and campaign_id not in warned:
        warned.add(campaign_id)
        log.warning("%s: %s", campaign_id, in_words(training))

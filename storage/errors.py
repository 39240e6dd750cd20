"""Every error that seedsweep raises on purpose.

The two classes below `SeedsweepError` other than `ConfigError` are the retry policy: a
`TransientError` is tried again, a `PermanentError` is recorded against the unit and the campaign
goes on. Every message is one sentence that says what, which and the remedy.
"""


class SeedsweepError(Exception):
    """Anything that seedsweep itself refuses or reports."""


class ConfigError(SeedsweepError):
    """The user's file, flag or environment is wrong; nothing was started."""


class TransientError(SeedsweepError):
    """The same work may succeed when it is tried again."""


class StoreUnavailableError(TransientError):
    """The object store did not answer, or refused to read or write."""


class BrokerUnavailableError(TransientError):
    """The broker did not answer, or not as it was asked."""


class BrokerRefusesError(BrokerUnavailableError):
    """The broker answers, but it or our way to it has to be mended; services wait for that too."""


class RayUnavailableError(TransientError):
    """The Ray cluster did not answer."""


class DeviceMemoryError(TransientError):
    """The device ran out of memory, even with a batch of one image."""


class PermanentError(SeedsweepError):
    """Trying the same work again cannot help."""


class ShardCorruptError(PermanentError):
    """A stored object is not what was written."""


class ImagesNotKeptError(PermanentError):
    """Pictures are wanted that were deleted once they were analysed."""


class ModelLoadError(PermanentError):
    """The model could not be loaded, or is not the one that was submitted."""


class OpaqueModelError(ModelLoadError):
    """No screen can look inside the model, which may make images all the same."""


class GenerationError(PermanentError):
    """The pipeline failed on this prompt."""


class TrainingSetError(PermanentError):
    """The training set of a campaign's verification cannot be read."""

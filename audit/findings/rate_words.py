"""Rates and shares in words."""

from seedsweep.audit.findings.intervals import Rate

NOT_EXAMINED = "not examined"
"""Said wherever nothing was compared with training pictures: 0 extracted would be an all-clear."""


def examined_words(rate: Rate | None) -> str:
    """The rate of what was compared with training pictures; None is that nothing was."""
    return NOT_EXAMINED if rate is None else str(rate)


def share_words(rate: Rate) -> str:
    """The share and its interval, to three digits: rates of false positives are small."""
    if rate.value is None:
        return str(rate)
    return f"{rate.count}/{rate.n} = {rate.value:.3g} [{rate.low:.3g}, {rate.high:.3g}]"


def rate_words(rate: Rate) -> str:
    """The share, its interval, and what kind of interval that is."""
    return f"{share_words(rate)}, {100 * rate.confidence:.3g} % {rate.method}"


def percent_words(share: float | None) -> str:
    """A share for people; None is not known."""
    return "not shown" if share is None else f"{100 * share:.2g} %"


def side_words(side: int) -> str:
    """How much of the picture repeats, at least."""
    return f"{side} × {side} tiles"  # noqa: RUF001

"""Which campaign of a store a person means."""

from difflib import get_close_matches

from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.store import Store, is_key

NAMED = 8
"""So many campaigns are named in a refusal: a store may hold hundreds."""


def find_campaign(store: Store, meant: str) -> str:
    """The id of the campaign that is meant: by its id, its name, or a beginning of its id.

    Each of these goes before the next; a name or a beginning must be that of one campaign alone.
    Raises `ConfigError`, which lists the candidates, if there are several, and which lists what the
    store knows if there are none.
    """
    if is_key(meant) and store.exists(keys.campaign(meant)):
        return meant
    begun = _whole(store, ids_that_begin(store, meant)) if meant else []
    candidates = [each for each in begun if each.rpartition("-")[0] == meant] or begun
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ConfigError(
            f"{meant!r} may be any of {len(candidates)} campaigns, {_listed(candidates)}; "
            "give more of the id."
        )
    known = _whole(store, ids_that_begin(store, ""))
    if not known:
        raise ConfigError(no_campaign(store))
    alike = get_close_matches(meant, known, NAMED, cutoff=0)
    raise ConfigError(
        f"The store {store.url} knows no campaign {meant!r}; it knows: "
        f"{_listed(alike + [each for each in known if each not in alike])}."
    )


def ids_that_begin(store: Store, beginning: str) -> list[str]:
    """The ids in the store that begin so, ascending; nothing is read of the campaigns."""
    return [each for each in store.folders(keys.CAMPAIGNS) if each.startswith(beginning)]


def no_campaign(store: Store, has_broker: bool = False) -> str:
    """What to do if the store holds no campaign; with a broker there is a deployment."""
    first = (
        "`seedsweep submit FILE.toml` hands one to this deployment"
        if has_broker
        else "`seedsweep run FILE.toml` makes one here"
    )
    return f"The store {store.url} holds no campaign; {first}, and --store names another store."


def _whole(store: Store, campaign_ids: list[str]) -> list[str]:
    """Those that were submitted: of one that was cut short there may be a folder."""
    return [each for each in campaign_ids if store.exists(keys.campaign(each))]


def _listed(ids: list[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more

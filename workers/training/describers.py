"""The Ray actors that describe a training set."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training.embedding_model import EmbeddingModel
from seedsweep.workers.training.search_actors import Searchers, crew_of
from seedsweep.workers.training.slice_description import Describer, Description, NamedPicture
from seedsweep.workers.training.slices import Slice


class Describers(Searchers):
    """Searchers that also describe slices."""

    def describe(
        self,
        slices: Sequence[Slice],
        settings: Verification,
        embedding: EmbeddingModel | None = None,
    ) -> Iterator[Description]:
        """What is in each slice, as it is finished. Raises what `describers` does."""

        def start(actor: Any, numbered: tuple[int, Slice]) -> Any:
            return actor.describe.remote(*numbered, settings, embedding)

        return self._each(enumerate(slices), start)

    def names(
        self, slices: Sequence[Slice], places: Mapping[int, Sequence[int]]
    ) -> Iterator[NamedPicture]:
        """The pictures at these places of the slices with these numbers, by name."""

        def start(actor: Any, number: int) -> Any:
            return actor.names.remote(number, slices[number], places[number])

        for named in self._each(places, start):
            yield from named


@contextlib.contextmanager
def describers(actors: Actors) -> Iterator[Describers]:
    """Actors to describe with for the time of the block; raises what `crew_of` does."""
    with crew_of(Describer, actors) as (ray, crew):
        yield Describers(ray, crew)

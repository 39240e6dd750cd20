"""What the actors of Ray do, in this process."""

from seedsweep.workers.analysts.actor import AnalysisActor
from seedsweep.workers.training.slice_description import Describer
from seedsweep.workers.training.slice_search import Searcher


def analyse_here(requests, store_url, actors):
    """Judge prompts as one analysis actor would."""
    actor = AnalysisActor(store_url)
    return (request and actor.analyse(request) for request in requests)


class Here:
    """A crew of one searcher in this process, which ends with the last slice first."""

    def search(self, slices, query, reach):
        for number in reversed(range(len(slices))):
            yield Searcher().search(number, slices[number], query, reach())

    def search_parts(self, slices, query):
        for number in reversed(range(len(slices))):
            yield Searcher().search_parts(number, slices[number], query)

    def fetch(self, slices, places, query):
        for number, some in places.items():
            yield from Searcher().fetch(number, slices[number], some, query)

    def frames(self, slices, places, query):
        for number, some in places.items():
            yield from Searcher().frames(number, slices[number], some, query)

    def summaries(self, slices, places, query):
        for number, some in places.items():
            yield Searcher().summaries(number, slices[number], some, query)

    def named(self, slices, places, query):
        for number, some in places.items():
            yield from Searcher().named(number, slices[number], some, query)

    def possible(self, questions, summary):
        for question in reversed(list(questions)):
            yield Searcher().possible(question, summary)

    def judge(self, questions):
        for question in reversed(list(questions)):
            yield Searcher().judge(question)

    def describe(self, slices, settings, embedding=None):
        for number in reversed(range(len(slices))):
            yield Describer().describe(number, slices[number], settings, embedding)

    def names(self, slices, places):
        for number, some in places.items():
            yield from Describer().names(number, slices[number], some)

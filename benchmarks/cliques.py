"""Deciding whether a graph has a clique of 10, and finding a largest, on graphs made to be hard.

    .venv/bin/python -m benchmarks.cliques [--timeout SECONDS] [--rounds N] [WORD …]

A WORD keeps only the graphs with it in their name. Everything is CPU time without making the graph:
ours in this process (one BLAS thread, as the analysis has), every rival's call in a process of its
own that is ended once it has had the time-out's CPU. The rivals that decide stop at the first
clique of 10. Their columns are rival ÷ ours, the median of the ratios within a round with lowest
and highest; > says that the rival was ended. A rival that was ended or took over a second is not
called again.
"""

import argparse
import itertools
import multiprocessing
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import igraph
import networkx as nx
import numpy as np

from benchmarks.machine import machine, span
from seedsweep.workers.analysis.cliques import DEFAULT_MAX_STEPS, decide_clique, largest_clique

SIZE = 10
SLOW = 1.0  # seconds


def random_graph(vertices, density, seed=1):
    upper = np.triu(np.random.default_rng(seed).random((vertices, vertices)) < density, 1)
    return upper | upper.T


def planted(adjacency, size):
    members = np.random.default_rng(size).choice(len(adjacency), size, replace=False)
    adjacency[np.ix_(members, members)] = True
    np.fill_diagonal(adjacency, False)
    return adjacency


def multipartite(vertices, parts):
    part = np.arange(vertices) % parts
    return part[:, None] != part


def near(vertices, dimensions, density):
    """Random points in a box, joined where they are near: what thresholds on distances give."""
    points = np.random.default_rng(3).random((vertices, dimensions))
    distances = ((points[:, None] - points) ** 2).sum(axis=-1)
    limit = np.quantile(distances[np.triu_indices(vertices, 1)], density)
    return (distances <= limit) & ~np.eye(vertices, dtype=bool)


def union(*graphs):
    ends = np.cumsum([0, *map(len, graphs)])
    adjacency = np.zeros((ends[-1], ends[-1]), dtype=bool)
    for (begin, end), graph in zip(itertools.pairwise(ends), graphs, strict=True):
        adjacency[begin:end, begin:end] = graph
    return adjacency


def join(*graphs):
    return ~union(*(~graph for graph in graphs))


def cycle(vertices):
    place = np.arange(vertices)
    return np.isin((place[:, None] - place) % vertices, [1, vertices - 1])


def blown(adjacency, times):
    """`times` of every vertex, not joined to each other."""
    return np.kron(adjacency, np.ones((times, times), dtype=bool))


def mycielski(adjacency, times):
    """No larger cliques, but one colour more each time."""
    for _ in range(times):
        vertices = len(adjacency)
        more = np.zeros((2 * vertices + 1, 2 * vertices + 1), dtype=bool)
        more[:vertices, : 2 * vertices] = np.hstack([adjacency, adjacency])
        more[vertices:-1, -1] = True
        adjacency = more | more.T
    return adjacency


def paley(prime):
    place = np.arange(prime)
    return np.isin((place[:, None] - place) % prime, [x * x % prime for x in range(1, prime)])


def subsets(points, size, common):
    """The subsets of that size, joined where they have so many points in common: Johnson graphs
    (size - 1), Kneser graphs (0), line graphs of complete graphs (2 and 1)."""
    chosen = itertools.combinations(range(points), size)
    inside = np.array([np.isin(range(points), subset) for subset in chosen], dtype=np.int64)
    return inside @ inside.T == common


def hamming(letters, length, distances):
    words = np.array(list(itertools.product(range(letters), repeat=length)))
    return np.isin((words[:, None] != words).sum(axis=-1), distances)


GRAPHS = {
    **{
        f"random {vertices}, {density}": lambda n=vertices, p=density: random_graph(n, p)
        for vertices, densities in [
            (500, (0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 0.95)),
            (1000, (0.1, 0.2, 0.25, 0.3)),
        ]
        for density in densities
    },
    **{
        f"{size} planted in 500, 0.35": lambda k=size: planted(random_graph(500, 0.35, 2), k)
        for size in (9, 10, 12)
    },
    "9 parts": lambda: multipartite(500, 9),
    "9 parts, 20 edges more": lambda: multipartite(500, 9) | random_graph(500, 0.0015),
    "10 parts, 80 % kept": lambda: multipartite(500, 10) & random_graph(500, 0.8),
    "12 parts, 40 % kept": lambda: multipartite(500, 12) & random_graph(500, 0.4),
    "complete but 1 %": lambda: random_graph(500, 0.99),
    "complete but a cycle": lambda: ~(cycle(500) | np.eye(500, dtype=bool)),
    "4 pentagons joined, blown up": lambda: blown(join(*[cycle(5)] * 4), 25),
    "4 Mycielski joined": lambda: join(*[mycielski(cycle(5), 4)] * 4, ~np.eye(1, dtype=bool)),
    "near 500, 2 dimensions": lambda: near(500, 2, 0.3),
    "near 500, 64 dimensions": lambda: near(500, 64, 0.1),
    "near 1000, 3 dimensions": lambda: near(1000, 3, 0.1),
    "5 random 100, 0.5": lambda: union(*(random_graph(100, 0.5, seed) for seed in range(5))),
    "Paley 109, blown up": lambda: blown(paley(109), 4),
    "Paley 509": lambda: paley(509),
    "Johnson 12, 4": lambda: subsets(12, 4, 3),
    "triples of 15 with 1 in common": lambda: subsets(15, 3, 1),
    "Kneser 19, 2": lambda: subsets(19, 2, 0),
    "Hamming 9, distance 4 or more": lambda: hamming(2, 9, range(4, 10)),
}


def nx_decides(graph):
    found = (len(clique) for clique in nx.find_cliques(graph) if len(clique) >= SIZE)
    return next(found, 0) >= SIZE


def nx_largest(graph):
    return len(nx.max_weight_clique(graph, weight=None)[0])


def igraph_decides(graph):
    return bool(graph.cliques(min=SIZE, max=SIZE, max_results=1))


def igraph_largest(graph):
    return graph.clique_number()


def for_igraph(adjacency):
    return igraph.Graph(len(adjacency), np.argwhere(np.triu(adjacency)).tolist())


@dataclass(frozen=True)
class Rival:
    name: str
    made: Callable
    call: Callable
    decides: bool


RIVALS = [
    Rival("networkx decides", nx.from_numpy_array, nx_decides, True),
    Rival("igraph decides", for_igraph, igraph_decides, True),
    Rival("networkx largest", nx.from_numpy_array, nx_largest, False),
    Rival("igraph largest", for_igraph, igraph_largest, False),
]


def cpu(call):
    begun = time.process_time()
    answer = call()
    return time.process_time() - begun, answer


def ended_in_time(rival, adjacency, timeout):
    """Seconds of CPU and the answer of a rival in its own process, or None where it was ended."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work():
        graph = rival.made(adjacency)
        # SIGPROF ends it once it has had so much CPU; what else the machine does takes none of it.
        signal.setitimer(signal.ITIMER_PROF, timeout)
        sender.send(cpu(lambda: rival.call(graph)))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()


def check(rival, answer, decision, found):
    """A rival that knows better than a proof of ours ends the benchmark."""
    if rival.decides:
        assert not decision.decided or answer == bool(decision.members), rival.name
    elif found.proven:
        assert max(answer, SIZE - 1) == found.upper_bound, rival.name


def measure(adjacency, rounds, timeout):
    """(decision, largest, decide seconds, whole seconds, rival name -> ratios, none if ended)."""
    ours, ratios = {True: [], False: []}, {rival.name: [] for rival in RIVALS}
    finished = set()
    for _ in range(rounds):
        seconds, decision = cpu(lambda: decide_clique(adjacency, SIZE))
        ours[True].append(seconds)
        seconds, found = cpu(lambda: largest_clique(adjacency, SIZE))
        ours[False].append(seconds)
        for rival in RIVALS:
            if rival.name in finished:
                continue
            result = ended_in_time(rival, adjacency, timeout)
            if result is None or result[0] > SLOW:
                finished.add(rival.name)
            if result:
                check(rival, result[1], decision, found)
                ratios[rival.name].append(result[0] / ours[rival.decides][-1])
    return decision, found, ours[True], ours[False], ratios


def row(name, adjacency, rounds, timeout):
    """Print one graph's line; its median seconds to decide, and whether that was done."""
    decision, found, decide, whole, ratios = measure(adjacency, rounds, timeout)
    vertices, edges = len(adjacency), int(adjacency.sum()) // 2
    answer = ("yes" if decision.members else "no") if decision.decided else "**not decided**"
    cells = [name, vertices, edges, f"{edges / (vertices * (vertices - 1) / 2):.3f}", answer]
    cells += [span(decide, 3), f"{statistics.median(whole):.3f}", len(found.members) or "none"]
    cells += [found.upper_bound, "yes" if found.proven else "no"]
    for rival in RIVALS:
        limit = timeout / statistics.median(decide if rival.decides else whole)
        found_ratios = ratios[rival.name]
        cells.append(span(found_ratios, 2) if found_ratios else f"> {limit:.0f}")
    print("|", " | ".join(map(str, cells)), "|", flush=True)
    return statistics.median(decide), decision.decided


def main():
    """Print the table, then the slowest decision and what was left undecided."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, default=3.0, help="CPU seconds for each rival")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("words", nargs="*")
    asked = parser.parse_args()
    print(machine("numpy", "networkx", "igraph"), end="\n\n")
    print(
        f"{asked.rounds} rounds, {DEFAULT_MAX_STEPS} steps, rivals end after {asked.timeout:g} s;"
    )
    print("all in seconds of CPU, median (lowest to highest), and rivals ÷ ours:", end="\n\n")
    columns = ["graph", "n", "edges", "density", f"≥ {SIZE}?", "decide s", "largest s", "size"]
    columns += ["bound", "proven", *(rival.name for rival in RIVALS)]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    largest_clique(random_graph(100, 0.5), SIZE)  # warm: the first matrix product is slow
    results = {
        name: row(name, make(), asked.rounds, asked.timeout)
        for name, make in GRAPHS.items()
        if not asked.words or any(word in name for word in asked.words)
    }
    slowest = max(results, key=lambda name: results[name][0])
    undecided = [name for name, (_, decided) in results.items() if not decided]
    print(f"\nNot decided within the steps: {'; '.join(undecided) or 'none'}.")
    print(f"Slowest to decide: {slowest}, {results[slowest][0]:.3f} s of CPU.")


if __name__ == "__main__":
    main()

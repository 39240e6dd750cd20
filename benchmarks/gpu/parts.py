"""The parts of the GPU benchmark: each yields lines as soon as their figures are there."""

from benchmarks.gpu.rates import generate, generate_compiled, writer
from benchmarks.gpu.resources import distances, memory, metrics
from benchmarks.gpu.sameness import compiled, equal, example, replay

PARTS = {
    part.__name__: part
    for part in (
        generate,
        generate_compiled,
        writer,
        equal,
        compiled,
        distances,
        memory,
        metrics,
        example,
        replay,
    )
}

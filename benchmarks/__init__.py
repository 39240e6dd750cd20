"""What produces every figure that the docs quote; see README.md.

One thread for each BLAS and OpenMP, before any benchmark imports NumPy or torch: figures are then
seconds of work, not of threads that wait for each other.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

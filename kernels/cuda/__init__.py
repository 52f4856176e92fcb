"""The way of an op to a CUDA device: sources, compiled modules, arrays across, and the launch.

`launcher` is the one seam: every op's `launch.py` goes through it, and a test puts another engine in its
place (the host shim of tests/kernels/cuda). CuPy is imported at the first launch, never before.
"""

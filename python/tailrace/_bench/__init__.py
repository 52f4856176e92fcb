"""What `tailrace bench`, the suites in `bench/python` and `bench/report.py` share.

`rows` is the arithmetic and the table, `timing` measures works with their engines in turn, `submits`,
`diamonds`, `matmuls`, `fans`, `cfuncs`, `sleeps`, `convoys` and `buffers` are the works of the Python rows,
`native` builds and runs the C++ ones, `alloc_rows` names those of memory, `curves` draws what was measured
over time.
"""

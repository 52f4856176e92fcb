"""The ops, one folder each; their functions are called as `tailrace.kernels.<op>`."""

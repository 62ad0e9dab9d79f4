"""Triton backends of the operations, for GPUs; the same kernels run on the CPU in Triton's
interpreter, which is how they are tested.

Sums that many threads add to are not in a fixed order. Where torch was asked for deterministic
algorithms they are made of integers (see `sums`), whose sum does not depend on the order.
"""

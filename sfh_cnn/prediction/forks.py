"""one_thread_after_fork(): children made by fork can predict."""

import functools
import os

import torch

__all__ = ["one_thread_after_fork"]


@functools.cache
def one_thread_after_fork() -> None:
    """Let torch use one thread in processes that are forked from now on.

    A fork copies the memory of OpenMP's pool of threads but not the threads: the child would wait for them for ever at
    its first large product. With one thread there is nothing to wait for; torch's own data loaders do the same.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread():
    torch.set_num_threads(1)

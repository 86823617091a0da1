"""Small matrices in one thread: several that wait for each other are slower as soon as anything else runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_ALONE = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the linear algebra in here use one thread.

    A few hundred rows gain little by a second one; beside a training, whose threads hold the cores, a fit took 1.3 s in two
    threads and 0.1 s in one. One caller at a time: limits are the process's, and who leaves sets them back.
    """
    with _ALONE, _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()

"""Processes to spread work over."""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from vnet_rx.testing.limit import expendable


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """An executor of ``workers`` processes, which Ctrl-C does not reach."""
    executor = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(sys.path,),
    )
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _begin(path: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
    expendable()

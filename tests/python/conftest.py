"""What the Python tests share."""

import itertools
import signal
from collections.abc import Iterator

import pytest

import vnet_rx

# A shell's background jobs ignore it, and what they start does too: then no Ctrl-C could be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MODES = ("small", "big", "mergeable")
STRATEGIES = ("eager", "deferred")
DIALECTS = ("legacy", "modern")
EVERY = list(itertools.product(MODES, STRATEGIES, DIALECTS, (True, False)))


def config_of(
    mode: str, strategy: str, dialect: str, event_idx: bool, ring_size: int = 64
) -> vnet_rx.RxConfig:
    """A small queue of that kind."""
    return vnet_rx.RxConfig(
        mode=mode, strategy=strategy, dialect=dialect, event_idx=event_idx, ring_size=ring_size
    )


@pytest.fixture(params=EVERY, ids=lambda p: "-".join(str(part) for part in p))
def config(request: pytest.FixtureRequest) -> vnet_rx.RxConfig:
    """Every mode x strategy x dialect, with EVENT_IDX and without."""
    return config_of(*request.param)


@pytest.fixture
def queue(config: vnet_rx.RxConfig) -> Iterator[vnet_rx.RxQueue]:
    """A refilled queue; afterwards every page is back in the arena."""
    rx = vnet_rx.RxQueue(config)
    rx.refill()
    arena = rx.arena
    yield rx
    rx.close()
    assert arena.free == arena.pages


def conserved(rx: vnet_rx.RxQueue, packets: list[vnet_rx.Packet]) -> None:
    """Every page is in exactly one place."""
    pages = [page for _, posted in rx.posted for page in posted]
    pages += rx.pool + rx.arena.free_pages
    for packet in packets:
        pages += [page for page, _, _ in packet.frags]
        pages += [packet.linear[0]] if packet.linear else []
    assert sorted(pages) == list(range(rx.arena.pages))

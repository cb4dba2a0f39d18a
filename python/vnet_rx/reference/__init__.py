"""The receive path in plain Python: a second implementation, written from ``docs/RECEIVE.md``.

It is there to be read and to be compared with: the same class names, arguments, errors and results
as the native module, which it never imports. Where the two disagree, one of them has a bug
(section 11). What it does not have: a host, captures, an eventfd, views that share memory with a
packet (``Packet.data`` is a copy), and use from several threads.

Follow one packet: ``ring/split.py`` takes the used entry, ``receive/queue.py`` copies the header,
``receive/verdict.py`` judges it, ``receive/deferred.py`` or ``receive/eager.py`` makes a packet of
it, ``memory/pool.py`` takes the unused pages back, ``receive/packet.py`` gives the others back when
it is dropped.

``RxQueue(config, arena, mutants=("M04",))`` switches known bugs on; ``MUTANTS`` says which.
"""

from vnet_rx.reference.config import RxConfig
from vnet_rx.reference.memory.arena import Page, PageArena
from vnet_rx.reference.memory.pool import PagePool
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.mutants import MUTANTS
from vnet_rx.reference.receive.packet import Packet
from vnet_rx.reference.receive.queue import RxQueue
from vnet_rx.reference.receive.stats import Stats
from vnet_rx.reference.ring.vring import Vring
from vnet_rx.reference.virtio import RingLayout, VnetHeader

__all__ = [
    "MUTANTS",
    "Packet",
    "Page",
    "PageArena",
    "PagePool",
    "RingLayout",
    "RxConfig",
    "RxQueue",
    "SharedMemory",
    "Stats",
    "VnetHeader",
    "Vring",
]

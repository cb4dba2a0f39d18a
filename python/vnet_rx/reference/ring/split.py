"""A split ring, driver side (RECEIVE.md, section 6; virtio 1.3, 2.7).

All that the driver knows of its ring is private: which descriptors are free, which chains are
outstanding, its indices. It never reads back what it wrote. From the device it reads used.idx,
used.flags, used entries and avail_event, and believes none of them.
"""

import struct
from collections import deque
from typing import Any

from vnet_rx.errors import RingFull
from vnet_rx.reference.memory.arena import PageArena
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.ring.notify import need_event
from vnet_rx.reference.virtio import (
    DESC_F_NEXT,
    DESC_F_WRITE,
    RingLayout,
    avail_offset,
    ring_bytes,
    used_offset,
)

_DESC = struct.Struct("<QIHH")  # addr, len, flags, next (2.7.5)
_write_desc = _DESC.pack_into


class Untrusted(Exception):
    """What the device wrote cannot be: BREAK, with the name of the fault."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class SplitRing:
    """The ring and the driver's private knowledge of it."""

    __slots__ = (
        "_added",
        "_arena",
        "_armed",
        "_avail_event",
        "_avail_flags",
        "_avail_index",
        "_avail_ring",
        "_event_idx",
        "_free",
        "_last_seen",
        "_last_used",
        "_mask",
        "_mutants",
        "_posted",
        "_published",
        "_replayed",
        "_size",
        "_table",
        "_used_event",
        "_used_flags",
        "_used_index",
        "_used_ring",
        "_view",
        "_words16",
        "_words32",
        "layout",
        "outstanding",
    )

    def __init__(
        self,
        arena: PageArena,
        size: int,
        event_idx: bool,
        first_index: int,
        mutants: frozenset[str] = frozenset(),
    ) -> None:
        at = arena.take_ring(ring_bytes(size), size)
        self._arena = arena
        self._view = arena.memory.view
        self._words16 = arena.memory.words16
        self._words32 = arena.memory.words32
        self._size, self._mask = size, size - 1
        self._event_idx = event_idx
        self._mutants = mutants
        avail, used = at + avail_offset(size), at + used_offset(size)
        base = SharedMemory.GUEST_BASE
        self.layout = RingLayout(size, base + at, base + avail, base + used)
        # Where things are: the table by byte, words by their number (2.7.6, 2.7.8).
        self._table = at
        self._avail_flags, self._avail_index, self._avail_ring = range(avail // 2, avail // 2 + 3)
        self._used_event = self._avail_ring + size
        self._used_flags, self._used_index = range(used // 2, used // 2 + 2)
        self._avail_event = self._used_index + 1 + 4 * size
        self._used_ring = used // 4 + 1  # of 32 bits each: id, len, id, len, ...
        self._start(first_index)

    def close(self) -> None:
        """Gives the ring's memory back."""
        self._arena.put_ring(self._table)

    def _start(self, index: int) -> None:
        """A fresh ring: nothing posted, armed, both sides at ``index`` (section 12)."""
        self._free = deque(range(self._size))
        # head -> the ids of its chain, and the token it was posted with
        self._posted: dict[int, tuple[list[int], Any]] = {}
        self._replayed: dict[int, tuple[list[int], Any]] = {}
        self.outstanding = 0
        self._added = self._published = index
        self._last_used = self._last_seen = index
        self._armed = True
        if index:
            self._words16[self._avail_index] = index
            self._words16[self._used_index] = index
            if self._event_idx:
                self._words16[self._used_event] = index
                self._words16[self._avail_event] = index

    def restart(self) -> None:
        """Zeroes the ring and starts all indices at 0, wherever they started before."""
        length = ring_bytes(self._size)
        self._view[self._table : self._table + length] = bytes(length)
        self._start(0)

    # -- posting

    @property
    def num_free(self) -> int:
        """How many descriptors are free."""
        return len(self._free)

    @property
    def free_descriptors(self) -> list[int]:
        """The free descriptors in the order in which they will be used."""
        return list(self._free)

    @property
    def posted(self) -> list[tuple[int, Any]]:
        """The outstanding buffers: head and token, lowest head first."""
        return [(head, self._posted[head][1]) for head in sorted(self._posted)]

    def add(self, segments: list[tuple[int, int]], token: Any) -> int:
        """Writes a chain of (guest address, length) and puts it into the avail ring; its head.

        Raises ``RingFull`` unless there are free descriptors for the whole chain.
        """
        free = self._free
        if len(segments) > len(free):
            raise RingFull(
                f"a buffer of {len(segments)} segments does not fit: {len(free)} descriptors "
                "are free"
            )
        ids = [free.popleft() for _ in segments]
        # From the last descriptor to the first, so that each knows the one behind it.
        flags, after = DESC_F_WRITE, 0
        for at, (addr, length) in zip(reversed(ids), reversed(segments), strict=True):
            _write_desc(self._view, self._table + 16 * at, addr, length, flags, after)
            flags, after = DESC_F_WRITE | DESC_F_NEXT, at

        head = ids[0]
        self._posted[head] = ids, token
        self.outstanding += 1
        self._words16[self._avail_ring + (self._added & self._mask)] = head
        self._added = self._added + 1 & 0xFFFF
        return head

    def publish(self) -> bool:
        """Shows the device what was added: one store of avail.idx. Whether it wants a kick.

        A memory barrier belongs between the store and the load of what the device wants (2.7.13.4);
        in one thread of Python there is nothing to keep apart.
        """
        old, new = self._published, self._added
        if old == new:
            return False
        self._words16[self._avail_index] = new
        self._published = new
        if self._event_idx:
            avail_event = self._words16[self._avail_event]
            return need_event(avail_event, new, old, self._mutants)
        return not self._words16[self._used_flags] & 1

    # -- completions

    def refresh(self, index: int | None = None) -> None:
        """One load of used.idx for a batch, or ``index`` if it was loaded already."""
        if index is None:
            index = self._words16[self._used_index]
        unseen = self.outstanding - self.completed
        if index - self._last_seen & 0xFFFF > unseen:
            raise Untrusted("IndexJump")
        self._last_seen = index

    @property
    def completed(self) -> int:
        """How many completions were seen and not yet consumed."""
        return self._last_seen - self._last_used & 0xFFFF

    def entry(self, k: int) -> tuple[int, int]:
        """The k-th of the completed used entries: (id, length), both unchecked."""
        at = self._used_ring + 2 * (self._last_used + k & self._mask)
        head, length = self._words32[at], self._words32[at + 1]
        if "M11" in self._mutants:
            head &= 0xFFFF
        return head, length

    def token(self, head: int) -> Any:
        """The token of an id, which must be in range, outstanding and a chain's head."""
        entry = self._posted.get(head)
        if entry is None and "M19" in self._mutants:
            entry = self._replayed.get(head)
        if entry is None:
            raise Untrusted("BadUsedId")
        return entry[1]

    def consume(self, heads: list[int]) -> None:
        """Steps over completions whose ids were checked; their chains become free, in order."""
        for head in heads:
            if "M19" in self._mutants:
                self._replayed[head] = self._posted.get(head) or self._replayed[head]
                self._posted[head] = self._replayed[head]
            ids, _ = self._posted.pop(head)
            if "M15" in self._mutants:
                ids = self._walk(head)
            self._free.extend(ids)
        self.outstanding -= len(heads)
        self._last_used = self._last_used + len(heads) & 0xFFFF

    def _walk(self, head: int) -> list[int]:
        """M15: the chain as the descriptor table has it now."""
        ids = [head]
        while len(ids) < self._size:
            _, _, flags, after = _DESC.unpack_from(self._view, self._table + 16 * ids[-1])
            if not flags & DESC_F_NEXT:
                break
            ids.append(after & self._mask)
        return ids

    # -- notifications

    def disarm(self) -> None:
        """Asks for silence. With EVENT_IDX nothing is written: the event index goes stale."""
        if self._armed and not self._event_idx:
            self._words16[self._avail_flags] = 1
        self._armed = False

    def arm(self) -> None:
        """Asks for a notification of the next completion; ``look_again`` must follow."""
        if self._event_idx:
            self._words16[self._used_event] = self._last_seen
        else:
            self._words16[self._avail_flags] = 0
        self._armed = True

    def look_again(self) -> int | None:
        """Used.idx, if something came while arming; else None, and sleeping is safe."""
        index = self._words16[self._used_index]
        return None if index == self._last_seen else index

    # -- the end

    def detach(self) -> tuple[int, Any] | None:
        """Takes back the outstanding buffer with the lowest head: head and token, or None."""
        if not self._posted:
            return None
        head = min(self._posted)
        ids, token = self._posted.pop(head)
        self._free.extend(ids)
        self.outstanding -= 1
        return head, token

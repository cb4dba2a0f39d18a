"""A device as a Python object over raw ring memory: honest, and hostile in every way a scenario
knows.

It does what its actions say (docs/scenario.md, The device) and nothing by itself. It trusts its
driver as little as the driver may trust it.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from struct import Struct
from typing import Any, Final

from vnet_rx.testing.memory import Layout, RingMemory

Action = Mapping[str, Any]
"""One action in normal form (``vnet_rx.testing.schema.ACTIONS``)."""

_DESC: Final = Struct("<QIHH")
_HEADER: Final = Struct("<BBHHHHH")
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_DONE_KEPT: Final = 64
_READY_KEPT: Final = 1024
_PATTERN: Final = bytes((31 * i + 7 * (i >> 8) + (i >> 16)) & 0xFF for i in range(70_000 + 256))

Parts = Sequence[tuple[int, int]]
"""A chain's memory: guest address and length of each descriptor, in order."""


def pattern(size: int, seed: int = 0) -> bytes:
    """``size`` payload bytes, each telling where it belongs."""
    return _PATTERN[seed : seed + size]


class Device:
    """The device half of a split ring, for a receive queue.

    ``memory`` and ``layout`` are the driver's; ``features`` the negotiated bits. All its indices
    start at ``first_index``.
    """

    def __init__(
        self, memory: RingMemory, layout: Layout, header_len: int, *, mergeable: bool,
        first_index: int = 0,
    ) -> None:  # fmt: skip
        self.memory = memory
        self.size, self.desc = layout.size, layout.desc
        self.avail, self.used = layout.avail, layout.used
        self.header_len, self.mergeable = header_len, mergeable
        self._low = memory.GUEST_BASE
        self._end = self._low + len(memory)
        self._acts: dict[str, Callable[[Action], None]] = {
            "send": self._send,
            "publish": lambda act: self._write_held(act["count"]),
            "complete": lambda act: self._complete(act["id"], act["len"]),
            "again": self._again,
            "jump": self._jump,
            "rewrite": self._rewrite,
            "stray": self._stray,
            "scribble": self._scribble,
            "flags": lambda act: memory.store16(self.used, act["value"]),
            "event": self._event,
        }
        self.restart(first_index)

    def restart(self, index: int = 0) -> None:
        """Start anew, as after a reset: nothing under way, both indices at ``index``."""
        self.next_avail = self.next_used = index
        self.ready: deque[tuple[int, Parts]] = deque()
        self.held: deque[tuple[int, int, tuple[int, Parts]]] = deque()
        self.done: deque[tuple[tuple[int, Parts], int]] = deque(maxlen=_DONE_KEPT)

    def act(self, action: Action) -> None:
        """Perform one action."""
        self.fetch()
        self._acts[action["act"]](action)

    def act_all(self, actions: Sequence[Action]) -> None:
        """Perform actions in order."""
        for action in actions:
            self.act(action)

    # -- the avail side

    def fetch(self) -> None:
        """Take the buffers that the driver has made available since the last look."""
        load16, size = self.memory.load16, self.size
        ahead = load16(self.avail + 2) - self.next_avail & 0xFFFF
        if not ahead or ahead > size:
            return
        entries, mask = self.avail + 4, size - 1
        read = 0
        for index in range(self.next_avail, self.next_avail + ahead):
            if read >= size:
                break  # No driver has more descriptors: loops, after a scribble.
            head = load16(entries + 2 * (index & mask))
            parts, sound = self._chain(head)
            read += len(parts) or 1
            if sound and len(self.ready) < _READY_KEPT:
                self.ready.append((head, parts))
        self.next_avail = self.next_avail + ahead & 0xFFFF

    def _chain(self, at: int) -> tuple[Parts, bool]:
        """The memory of the chain that starts at descriptor ``at``, and whether it is sound."""
        read, low, end, size = self.memory.read, self._low, self._end, self.size
        parts: list[tuple[int, int]] = []
        while at < size and len(parts) < size:
            addr, length, flags, after = _DESC.unpack(read(self.desc + 16 * at, 16))
            if flags & (_WRITE | _INDIRECT) != _WRITE or not length:
                break
            if not low <= addr <= end - length:
                break
            parts.append((addr, length))
            if not flags & _NEXT:
                return parts, True
            at = after
        return parts, False

    # -- the used side

    def _entry(self, head: int, length: int) -> None:
        at = self.used + 4 + 8 * (self.next_used & self.size - 1)
        self.memory.store32(at, head)
        self.memory.store32(at + 4, length)
        self.next_used = self.next_used + 1 & 0xFFFF

    def _publish(self) -> None:
        self.memory.store16(self.used + 2, self.next_used)

    def _finish(self, entry: tuple[int, int, tuple[int, Parts]]) -> None:
        head, length, chain = entry
        self._entry(head, length)
        self.done.append((chain, length))

    def _write_held(self, count: int) -> None:
        if count and self.held:
            for _ in range(min(count, len(self.held))):
                self._finish(self.held.popleft())
            self._publish()

    def _complete(self, head: int, length: int) -> None:
        self._entry(head, length)
        self._publish()

    def _again(self, act: Action) -> None:
        if act["back"] < len(self.done):
            (head, _), length = self.done[-1 - act["back"]]
            self._complete(head, length if act["len"] is None else act["len"])

    def _jump(self, act: Action) -> None:
        self.next_used = self.next_used + act["by"] & 0xFFFF
        self._publish()

    def _event(self, act: Action) -> None:
        value = self.memory.load16(self.avail + 2) + act["ahead"] & 0xFFFF
        self.memory.store16(self.used + 4 + 8 * self.size, value)

    # -- frames

    def _send(self, act: Action) -> None:
        count = (act["buffers"] if self.mergeable else None) or 1
        fill, size = act["fill"], self.header_len + act["size"]
        if self.mergeable and act["buffers"] is None:
            # As many as it takes.
            room = count = 0
            for _, parts in self.ready:
                room += self._room(parts, fill, count)
                count += 1
                if room >= size:
                    break
            if room < size:
                return
        if len(self.ready) < count:
            return
        number = count if act["num_buffers"] is None else act["num_buffers"]
        header = _HEADER.pack(*act["header"], number)[: self.header_len]
        stream = header + pattern(act["size"], act["seed"])
        entries = []
        at = 0
        for k in range(count):
            head, parts = chain = self.ready.popleft()
            piece = stream[at : at + self._room(parts, fill, k)]
            self._write(parts, 0, piece)
            at += len(piece)
            entries.append((head, len(piece), chain))
        for name, change in _CHANGES:
            for k, value in dict(act[name]).items():
                if k < count:
                    entries[k] = change(entries[k], value)
        self.held.extend(entries)
        self._write_held(len(self.held) - min(act["hold"], count))

    @staticmethod
    def _room(parts: Parts, fill: Sequence[int], k: int) -> int:
        room = sum(length for _, length in parts)
        return min(room, fill[k]) if k < len(fill) else room

    def _write(self, parts: Parts, at: int, data: bytes) -> None:
        """Write ``data`` over a chain, from its byte ``at`` on; what does not fit is left out."""
        for addr, length in parts:
            if at >= length:
                at -= length
                continue
            if not data:
                return
            self.memory.write(addr + at, data[: length - at])
            data = data[length - at :]
            at = 0

    # -- tampering

    def _rewrite(self, act: Action) -> None:
        if act["back"] < len(self.done):
            (_, parts), _ = self.done[-1 - act["back"]]
            self._write(parts, act["at"], act["bytes"])

    def _stray(self, act: Action) -> None:
        if self.ready:
            _, parts = next(islice(self.ready, act["chain"] % len(self.ready), None))
            self._write(parts, act["at"], act["bytes"])

    def _scribble(self, act: Action) -> None:
        start, length = (
            (self.desc, 16 * self.size)
            if act["area"] == "desc"
            else (self.avail, 6 + 2 * self.size)
        )
        at = act["at"] % length
        data = act["bytes"][: length - at]
        if at % 2 or len(data) % 2:
            self.memory.write(start + at, data)
            return
        for i in range(0, len(data), 2):
            self.memory.store16(start + at + i, data[i] | data[i + 1] << 8)


_Entry = tuple[int, int, tuple[int, Parts]]
_CHANGES: Final[tuple[tuple[str, Callable[[_Entry, int], _Entry]], ...]] = (
    ("len", lambda entry, value: (entry[0], value, entry[2])),
    ("id", lambda entry, value: (value, entry[1], entry[2])),
    ("id_add", lambda entry, value: (entry[0] + value & 0xFFFF_FFFF, entry[1], entry[2])),
)

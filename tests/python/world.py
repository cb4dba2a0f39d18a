"""One implementation of the receive path, a device that works on its ring memory, and a record of
all that can be observed.

The device owes nothing to ``vnet_rx.testing``: a mistake in one of them is not in the other.
"""

import itertools
import struct
from typing import Any

POINTS = ("used_idx_read", "header_copied", "before_rearm", "after_rearm")

PATTERN = bytes(j * 31 + (j >> 8) * 7 & 0xFF for j in range(100_000))

Chain = tuple[int, list[tuple[int, int]]]
Action = tuple[Any, ...]


class Device:
    """A device that does what it is told, on the raw memory of anybody's ring."""

    def __init__(self, memory: Any, layout: Any, index: int) -> None:
        self.memory, self.layout = memory, layout
        self.restart(index)

    def restart(self, index: int) -> None:
        self.next_avail = self.next_used = index
        self.held: list[tuple[int, int]] = []
        self.done: list[tuple[Chain, int]] = []

    def take(self) -> Chain | None:
        """The next available chain: its head and segments, as far as they make sense."""
        layout, size = self.layout, self.layout.size
        if self.memory.load16(layout.avail + 2) == self.next_avail:
            return None
        head = self.memory.load16(layout.avail + 4 + 2 * (self.next_avail % size))
        self.next_avail = self.next_avail + 1 & 0xFFFF
        parts: list[tuple[int, int]] = []
        at = head
        while at < size and len(parts) < size:
            addr, length, flags, at_next = struct.unpack(
                "<QIHH", self.memory.read(layout.desc + 16 * at, 16)
            )
            parts.append((addr, length))
            if not flags & 1:
                break
            at = at_next
        return head, parts

    def fill(self, parts: list[tuple[int, int]], data: bytes, skip: int = 0) -> int:
        """Writes bytes into a chain, from byte ``skip`` on; how many fitted."""
        done, end = 0, self.memory.GUEST_BASE + len(self.memory)
        for addr, length in parts:
            piece = data[done : done + max(0, length - skip)]
            if piece and addr >= self.memory.GUEST_BASE and addr + length <= end:
                self.memory.write(addr + skip, piece)
            done += len(piece)
            skip = max(0, skip - length)
        return done

    def used(self, entries: list[tuple[int, int]]) -> None:
        """Writes used entries, and publishes."""
        layout = self.layout
        for head, length in entries:
            at = layout.used + 4 + 8 * (self.next_used % layout.size)
            self.memory.store32(at, head)
            self.memory.store32(at + 4, length)
            self.next_used = self.next_used + 1 & 0xFFFF
        self.memory.store16(layout.used + 2, self.next_used)

    def send(
        self, header: bytes, length: int, buffers: int = 1, hold: int = 0, lies: Any = ()
    ) -> None:
        """A header and ``length`` bytes in the first buffer, 4096 in each other; the last ``hold``
        completions come with the next send. ``lies`` has used lengths by buffer."""
        self.used(self.held)
        entries = []
        for i in range(buffers):
            taken = self.take()
            if taken is None:
                break
            data = PATTERN[i : i + (length if i == 0 else 4096)]
            written = self.fill(taken[1], header + data if i == 0 else data)
            written = dict(lies).get(i, written)
            entries.append((taken[0], written))
            self.done.append((taken, written))
        cut = max(1, len(entries) - hold)
        self.held = entries[cut:]
        self.used(entries[:cut])

    def again(self, back: int) -> None:
        """Completes a chain that was completed before."""
        if back < len(self.done):
            (head, _), length = self.done[-1 - back]
            self.used([(head, length)])

    def rewrite(self, back: int, at: int, data: bytes) -> None:
        """Overwrites the buffer of an earlier completion."""
        if back < len(self.done):
            self.fill(self.done[-1 - back][0][1], data, at)

    def jump(self, by: int) -> None:
        """Moves used.idx, and nothing else."""
        at = self.layout.used + 2
        self.memory.store16(at, self.memory.load16(at) + by & 0xFFFF)

    def scribble(self, area: str, at: int, data: bytes) -> None:
        """Overwrites a part of the descriptor table or of the avail ring."""
        size = self.layout.size
        start, length = (
            (self.layout.desc, 16 * size) if area == "desc" else (self.layout.avail, 6 + 2 * size)
        )
        at %= length
        self.memory.write(start + at, data[: length - at])

    def fail(self) -> None:
        """A hook that raises."""
        raise RuntimeError("a hook raised")

    def flags(self, value: int, event: int) -> None:
        """Writes used.flags and avail_event."""
        self.memory.store16(self.layout.used, value)
        self.memory.store16(self.layout.used + 4 + 8 * self.layout.size, event)


def pages_of(packet: Any) -> list[int]:
    """The pages that a packet holds."""
    pieces = [packet.linear] if packet.linear else []
    return [page for page, _, _ in pieces + packet.frags]


class World:
    """A queue, its device, and the packets that were delivered. ``arena`` is one, or its size."""

    def __init__(
        self,
        engine: Any,
        settings: dict[str, Any],
        arena: Any,
        mutants: tuple[str, ...] = (),
    ) -> None:
        self.config = engine.RxConfig(**settings)
        self.arena = engine.PageArena(arena) if isinstance(arena, int) else arena
        more = {"mutants": mutants} if mutants else {}
        self.rx = engine.RxQueue(self.config, self.arena, **more)
        self.memory = self.rx.memory
        self.device = Device(self.memory, self.rx.layout, self.config.first_index)
        self.packets: list[Any] = []
        self.names: dict[int, int] = {}
        self.named = 0
        self.in_sight: set[int] = set()
        self.pending = False  # packets that a poll with a failing hook keeps for the next

    def act(self, name: str, *arguments: Any) -> object:
        """An operation, of the driver or of the device: its result or its error."""
        try:
            if hasattr(self, "do_" + name):
                return getattr(self, "do_" + name)(*arguments)
            if hasattr(Device, name):
                return getattr(self.device, name)(*arguments)
            return getattr(self.rx, name)(*arguments)
        except Exception as error:
            return type(error).__name__, getattr(error, "code", None), getattr(error, "fault", None)

    def do_poll(self, budget: int, actions: dict[tuple[str, int], Action] | None = None) -> object:
        passed: list[str] = []

        def hook(point: str) -> None:
            passed.append(point)
            action = (actions or {}).get((point, passed.count(point)))
            if action is not None:
                getattr(self.device, action[0])(*action[1:])

        self.pending |= "fail" in [action[0] for action in (actions or {}).values()]
        got = self.rx.poll(budget, hook)
        self.pending = False
        self.packets += got
        return passed, [self.seen(packet) for packet in got]

    def do_fail_pages(self, skip: int, count: int) -> None:
        self.arena.fail_allocs(skip, count)

    def do_fail_skbs(self, skip: int, count: int) -> None:
        self.rx.fail_skb_allocs(skip, count)

    def do_drop(self, which: int) -> int:
        if self.packets:
            self.packets.pop(which % len(self.packets)).release()
        return len(self.packets)

    def do_private(self, which: int) -> object:
        if not self.packets:
            return None
        packet = self.packets[which % len(self.packets)]
        packet.make_private()
        return self.seen(packet)

    def do_reset(self) -> None:
        self.rx.reset()
        self.device.restart(0)

    def name(self, page: int) -> int:
        """Pages are the same up to renaming, in order of first appearance: which page the arena
        hands out is nobody's business. A page keeps its name until it goes back there."""
        self.in_sight.add(page)
        if page not in self.names:
            self.names[page] = self.named
            self.named += 1
        return self.names[page]

    def seen(self, packet: Any) -> object:
        header = packet.header.to_bytes().hex()
        pieces = [packet.linear] if packet.linear else []
        pieces = [(self.name(page), at, length) for page, at, length in pieces + packet.frags]
        segments = [bytes(view) for view in packet.segments]
        return (bytes(packet), header, len(packet), packet.head_len, pieces, packet.truesize,
                segments, packet.is_private)  # fmt: skip

    def descriptors(self) -> list[list[tuple[int, ...]]]:
        """The posted chains as they stand in the table, addresses as pages and offsets."""
        layout, base = self.rx.layout, self.arena.address_of(0)
        chains = []
        for head, _ in self.rx.posted:
            chain: list[tuple[int, ...]] = []
            at = head
            while at < layout.size and len(chain) < layout.size:
                entry = self.memory.read(layout.desc + 16 * at, 16)
                addr, length, flags, after = struct.unpack("<QIHH", entry)
                page = (addr - base) >> 12
                if 0 <= page < self.arena.pages:
                    page = self.name(page)
                chain.append((page, addr & 4095, length, flags, after))
                if not flags & 1:
                    break
                at = after
            chains.append(chain)
        return chains

    def state(self) -> dict[str, object]:
        """All that section 11 lists; of a closed queue what is left."""
        rx, layout = self.rx, self.rx.layout
        self.in_sight.clear()
        self.in_sight.update(itertools.chain(*map(pages_of, self.packets)))
        state: dict[str, object] = {
            "counters": rx.stats().as_dict(),
            "closed": rx.closed,
            "arena": self.arena.free,
            "avail": self.memory.read(layout.avail, 6 + 2 * layout.size),
        }
        if not rx.closed:
            state |= {
                "num": rx.num,
                "max": rx.max,
                "posted": [(head, [self.name(p) for p in pages]) for head, pages in rx.posted],
                "pool": [self.name(page) for page in rx.pool],
                "free descriptors": list(rx.free_descriptors),
                "refill_needed": rx.refill_needed,
                "broken": rx.broken,
                "descriptors": self.descriptors(),
            }
        self.names = {page: name for page, name in self.names.items() if page in self.in_sight}
        return state

    def conserved(self) -> bool:
        """Whether every page is in exactly one place (section 2), as far as can be seen."""
        if self.pending:
            return True
        pages = list(self.arena.free_pages)
        if not self.rx.closed:
            pages += [page for _, posted in self.rx.posted for page in posted] + self.rx.pool
        pages += itertools.chain(*map(pages_of, self.packets))
        return sorted(pages) == list(range(self.arena.pages))


def made(engine: Any, mode: str, strategy: str, dialect: str, **more: Any) -> World:
    """A refilled queue of 64 in an arena of 200 pages."""
    settings = {"mode": mode, "strategy": strategy, "dialect": dialect, "ring_size": 64} | more
    world = World(engine, settings, 200)
    world.rx.refill()
    return world


def header(world: World, *fields: int, buffers: int = 1) -> bytes:
    """A header of the world's length: flags, gso_type, hdr_len, gso_size, csum_start, ..."""
    six = (*fields, 0, 0, 0, 0, 0, 0)[:6]
    return struct.pack("<BBHHHHH", *six, buffers)[: world.config.header_len]

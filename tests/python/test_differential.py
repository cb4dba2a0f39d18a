"""The engine against the reference, operation by operation (RECEIVE.md, section 11).

Two worlds, one with each implementation, are driven by the same operations on the same ring memory
and must agree after every one: results, errors, packets, counters, pool order, descriptors, and all
that the device can see.
"""

import random
import struct
from dataclasses import dataclass, field
from typing import Any

import pytest

import vnet_rx
import vnet_rx.reference as reference

from .conftest import EVERY

POINTS = ("used_idx_read", "header_copied", "before_rearm", "after_rearm")
LENGTHS = (0, 1, 9, 12, 13, 14, 60, 127, 128, 129, 1518, 1519, 4079, 4080, 4081, 4084, 4096, 9000)
USED = (0, 1, 9, 10, 11, 12, 25, 26, 100, 1530, 1531, 4096, 4097, 73_722, 73_723, 73_728, 73_729,
        2**32 - 1)  # fmt: skip


@dataclass
class World:
    """One implementation, and a device that works on its ring memory."""

    engine: Any
    settings: dict[str, Any]
    pages: int
    packets: list[Any] = field(default_factory=list)
    names: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.engine.RxConfig(**self.settings)
        self.arena = self.engine.PageArena(self.pages)
        self.rx = self.engine.RxQueue(self.config, self.arena)
        self.memory = self.rx.memory
        self.restart(self.settings["first_index"])

    def restart(self, index: int) -> None:
        self.next_avail = self.next_used = index
        self.held: list[tuple[int, int]] = []

    # -- the device

    def take(self) -> tuple[int, list[tuple[int, int]]] | None:
        layout, size = self.rx.layout, self.rx.layout.size
        if self.memory.load16(layout.avail + 2) == self.next_avail:
            return None
        head = self.memory.load16(layout.avail + 4 + 2 * (self.next_avail % size))
        self.next_avail = (self.next_avail + 1) & 0xFFFF
        at, parts = head, []
        while True:
            addr, length, flags, after = struct.unpack(
                "<QIHH", self.memory.read(layout.desc + 16 * at, 16)
            )
            parts.append((addr, length))
            if not flags & 1:
                return head, parts
            at = after

    def fill(self, parts: list[tuple[int, int]], data: bytes) -> int:
        done = 0
        for addr, length in parts:
            piece = data[done : done + length]
            self.memory.write(addr, piece)
            done += len(piece)
        return done

    def used(self, entries: list[tuple[int, int]]) -> None:
        layout = self.rx.layout
        for head, length in entries:
            at = layout.used + 4 + 8 * (self.next_used % layout.size)
            self.memory.store32(at, head)
            self.memory.store32(at + 4, length)
            self.next_used = (self.next_used + 1) & 0xFFFF
        self.memory.store16(layout.used + 2, self.next_used)

    def send(self, header: bytes, length: int, buffers: int, hold: int, lie: int | None) -> None:
        self.used(self.held)
        self.held = []
        entries = []
        for i in range(buffers):
            taken = self.take()
            if taken is None:
                break
            head, parts = taken
            data = bytes(j * 31 + i & 0xFF for j in range(length if i == 0 else 4096))
            written = self.fill(parts, header + data if i == 0 else data)
            entries.append((head, written if lie is None or i else lie))
        cut = max(1, len(entries) - hold)
        self.held = entries[cut:]
        self.used(entries[:cut])

    # -- the operations

    def act(self, name: str, *arguments: Any) -> object:
        try:
            return getattr(self, "do_" + name)(*arguments)
        except Exception as error:
            return type(error).__name__, getattr(error, "code", None), getattr(error, "fault", None)

    def do_refill(self) -> object:
        return self.rx.refill()

    def do_poll(self, budget: int, actions: dict[tuple[str, int], tuple[Any, ...]]) -> object:
        passed: list[str] = []

        def hook(point: str) -> None:
            passed.append(point)
            action = actions.get((point, passed.count(point)))
            if action is not None:
                getattr(self, action[0])(*action[1:])

        got = self.rx.poll(budget, hook)
        self.packets += got
        self.names.clear()
        return passed, [self.seen(packet) for packet in got]

    def name(self, page: int) -> int:
        """Pages are the same up to renaming, in order of first appearance in a comparison: the
        order in which the arena hands pages out that it got back is nobody's business."""
        return self.names.setdefault(page, len(self.names))

    def seen(self, packet: Any) -> object:
        header = packet.header.to_bytes().hex()
        frags = [(self.name(page), offset, length) for page, offset, length in packet.frags]
        return bytes(packet), header, packet.head_len, frags, packet.truesize

    def do_send(self, *arguments: Any) -> None:
        self.send(*arguments)

    def do_used(self, head: int, length: int) -> None:
        self.used([(head, length)])

    def do_jump(self, by: int) -> object:
        at = self.rx.layout.used + 2
        self.memory.store16(at, self.memory.load16(at) + by & 0xFFFF)
        return None

    def do_fail_pages(self, skip: int, count: int) -> object:
        return self.arena.fail_allocs(skip, count)

    def do_fail_skbs(self, skip: int, count: int) -> object:
        return self.rx.fail_skb_allocs(skip, count)

    def do_drop(self, which: int) -> object:
        if self.packets:
            self.packets.pop(which % len(self.packets)).release()
        return len(self.packets)

    def do_notify_flags(self, flags: int, event: int) -> object:
        layout = self.rx.layout
        self.memory.store16(layout.used, flags)
        self.memory.store16(layout.used + 4 + 8 * layout.size, event)
        return None

    def do_watchdog(self) -> object:
        return self.rx.watchdog()

    def do_reset(self) -> object:
        self.rx.reset()
        self.restart(0)
        return None

    def do_stop_and_detach(self) -> object:
        self.rx.stop()
        return self.rx.detach_unused_buf()

    def descriptors(self) -> list[list[tuple[int, ...]]]:
        """The posted chains in the descriptor table, addresses as pages and offsets."""
        layout, base = self.rx.layout, self.arena.address_of(0)
        chains = []
        for head, _ in self.rx.posted:
            chain: list[tuple[int, ...]] = []
            at = head
            while not chain or chain[-1][3] & 1:
                entry = self.memory.read(layout.desc + 16 * at, 16)
                addr, length, flags, after = struct.unpack("<QIHH", entry)
                page = self.name((addr - base) >> 12)
                chain.append((page, addr & 4095, length, flags, after))
                at = after
            chains.append(chain)
        return chains

    def state(self) -> dict[str, object]:
        """All that section 11 lists."""
        self.names.clear()
        rx, layout = self.rx, self.rx.layout
        avail = 6 + 2 * layout.size
        return {
            "counters": rx.stats().as_dict(),
            "num": rx.num,
            "max": rx.max,
            "pool": [self.name(page) for page in rx.pool],
            "posted": [(head, [self.name(page) for page in pages]) for head, pages in rx.posted],
            "free descriptors": list(rx.free_descriptors),
            "refill_needed": rx.refill_needed,
            "broken": rx.broken,
            "arena": self.arena.free,
            "descriptors": self.descriptors(),
            "avail": self.memory.read(layout.avail, avail),
        }


def operations(rng: random.Random, config: Any, count: int) -> list[tuple[Any, ...]]:
    """Random operations, biased towards packets that are right."""

    def header() -> bytes:
        n = rng.choice((0, 1, 1, 1, 1, 2, 3, 17, 18, 19, 20, 60_000))
        fields = (0, 0, 0, 0, 0, 0)
        if rng.random() < 0.25:
            gso = rng.choice((0, 1, 2, 3, 4, 5, 0x80, 0x81, 0x7F))
            spot = rng.choice((0, 34, 100, 65_535))
            fields = (rng.randrange(8), gso, rng.randrange(99), rng.choice((0, 1448)), spot,
                      rng.choice((0, 16, 65_500)))  # fmt: skip
        return struct.pack("<BBHHHHH", *fields, n)[: config.header_len]

    def send() -> tuple[Any, ...]:
        buffers = rng.choice((1, 1, 1, 2, 3, 18, 19, 20)) if config.mode == "mergeable" else 1
        head = bytearray(header())
        if config.mode == "mergeable" and rng.random() < 0.8:
            head[10:12] = struct.pack("<H", buffers)
        lie = rng.choice(USED) if rng.random() < 0.15 else None
        length = rng.choice(LENGTHS) if buffers == 1 else rng.choice((60, 128, 129, 4084))
        return ("send", bytes(head), length, buffers, rng.choice((0, 0, 1, 2)), lie)

    def poll() -> tuple[Any, ...]:
        actions = {}
        if rng.random() < 0.3:
            at = (rng.choice(POINTS), rng.choice((1, 1, 2)))
            actions[at] = send() if rng.random() < 0.7 else ("do_jump", rng.randrange(3))
        return ("poll", rng.choice((1, 2, 3, 8, 64)), actions)

    makers = (
        [poll] * 8
        + [send] * 9
        + [lambda: ("refill",)] * 3
        + [lambda: ("drop", rng.randrange(9))] * 4
        + [lambda: ("used", rng.choice((0, 1, 2, 3, 63, 64, 65_536, 2**32 - 1)), 100)]
        + [lambda: ("jump", rng.choice((1, 2, 200, 65_535)))]
        + [lambda: ("fail_pages", rng.randrange(30), rng.randrange(1, 4))]
        + [lambda: ("fail_skbs", rng.randrange(6), rng.randrange(1, 3))]
        + [lambda: ("notify_flags", rng.randrange(2), rng.randrange(65_536))]
        + [lambda: ("watchdog",)]
        + [lambda: ("reset",)] * 2
        + [lambda: ("stop_and_detach",)]
    )
    return [rng.choice(makers)() for _ in range(count)]


@pytest.mark.parametrize("kind", EVERY, ids=str)
@pytest.mark.parametrize("seed", range(25))
def test_engine_and_reference_agree(kind: tuple[str, str, str, bool], seed: int) -> None:
    rng = random.Random(f"{kind} {seed}")
    mode, strategy, dialect, event_idx = kind
    settings = {
        "mode": mode,
        "strategy": strategy,
        "dialect": dialect,
        "event_idx": event_idx,
        "ring_size": rng.choice((32, 64)) if mode == "big" else rng.choice((2, 4, 32, 64)),
        "first_index": rng.choice((0, 65_500, 65_535)),
        "max_incomplete_polls": rng.choice((1, 3, 16)),
    }
    pages = rng.choice((25, 60, 140))
    left, right = (World(engine, settings, pages) for engine in (vnet_rx, reference))
    done: list[tuple[Any, ...]] = []
    for operation in operations(rng, left.config, 60):
        done.append(operation)
        ours, theirs = left.act(*operation), right.act(*operation)
        assert ours == theirs, f"{settings}\n{done}"
        ours, theirs = left.state(), right.state()
        for name, value in ours.items():
            assert value == theirs[name], f"{name}\n{settings}\n{done}"

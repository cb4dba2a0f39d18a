"""What there is to see of a driver after each operation, and the laws that hold then.

docs/scenario.md, Observation.
"""

import json
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple
from zlib import crc32

from vnet_rx.testing.driver import COUNTERS, FAULTS, DriverError, RxDriver, State
from vnet_rx.testing.scenario import Config

_HEADER: Final = Struct("<BBHHHHH")
_DESC: Final = Struct("<QIHH")
_NEXT: Final = 1

Part = tuple[int, int, int]
"""Page, offset, length."""


class Observation(NamedTuple):
    """All that is compared after an operation; None is what a driver does not show."""

    result: tuple[Any, ...]
    points: tuple[str, ...]
    packets: tuple[Any, ...]
    counters: tuple[int, ...] | None
    num: int | None
    max: int | None
    refill_needed: bool | None
    broken: str | None
    pool: tuple[int, ...] | None
    posted: tuple[tuple[int, tuple[int, ...]], ...] | None
    free_descriptors: tuple[int, ...] | None
    arena_free: int | None
    avail_flags: int
    avail_idx: int
    used_event: int | None
    published: tuple[Any, ...]

    def text(self) -> str:
        """The canonical text."""
        return json.dumps(self, separators=(",", ":"))

    def digest(self) -> int:
        """CRC-32 of the canonical text."""
        return crc32(self.text().encode())


_NamedState = tuple[
    int | None,
    int | None,
    bool | None,
    str | None,
    tuple[int, ...] | None,
    tuple[tuple[int, tuple[int, ...]], ...] | None,
    tuple[int, ...] | None,
]
"""num to free_descriptors, with the pages' names."""
_CLOSED: Final = (None,) * 7


class Seen(NamedTuple):
    """A delivered packet as it is kept while it is held."""

    packet: Any
    pages: tuple[int, ...]


class Observer:
    """Looks at one driver through a whole run, and checks the laws."""

    def __init__(self, driver: RxDriver, config: Config) -> None:
        self._driver: Any = driver
        self._config = config
        self._full = all(hasattr(driver, name) for name in _FULL)
        self._counters = getattr(driver, "counters", lambda: None)
        self._names: dict[int, int] = {}
        self._next_name = 0
        self._last_idx = config.first_index
        self._load16, self._read = driver.memory.load16, driver.memory.read
        layout = driver.layout
        self._size, self._desc, self._avail = layout.size, layout.desc, layout.avail
        self.held: list[Seen] = []
        self.broken_law: str | None = None
        self._where: object = None
        self._passive = bool(getattr(driver, "passive", False))
        self._looked = False
        self._counted: tuple[int, ...] | None = None
        self._free: int | None = None
        self._named: _NamedState = _CLOSED

    def restarted(self) -> None:
        """The ring was reset: the avail index counts from 0 again."""
        self._last_idx = 0

    def observe(
        self,
        result: tuple[Any, ...],
        points: Sequence[str],
        packets: Iterable[Any],
        called: bool = True,
    ) -> Observation:
        """Look, after an operation that came to ``result`` and delivered ``packets``.

        A ``passive`` driver that was not ``called`` is as it was; only memory may have changed.
        """
        full = self._full
        rows = [self._packet(packet, full) for packet in packets]
        if full and (called or not self._passive or not self._looked):
            self._looked = True
            self._counted = self._counts()
            state = self._driver.state()
            self._free = free = self._driver.arena_free()
            # Where no page has moved, names and laws are as before.
            where = (state, free, len(self.held))
            if where != self._where or rows:
                self._where = where
                self._name_pages(rows, state, free)
                self._named = self._renamed_state(state)
        elif not full:
            self._counted = self._counts()
        if rows and full:
            rows = [self._renamed(row) for row in rows]
        idx = self._load16(self._avail + 2)
        event = self._config.event_idx
        return Observation(
            result,
            tuple(points),
            tuple(rows),
            self._counted,
            *self._named,
            self._free,
            self._load16(self._avail),
            idx,
            self._load16(self._avail + 4 + 2 * self._size) if event else None,
            self._published(idx),
        )

    def _counts(self) -> tuple[int, ...] | None:
        counts = self._counters()
        if counts is not None:
            counts = tuple(counts)
            if len(counts) != len(COUNTERS) + len(FAULTS):
                known = ", ".join(COUNTERS + FAULTS)
                raise DriverError(
                    f"counters has {len(counts)} numbers: give one for each of {known}"
                )
        return counts

    def _renamed_state(self, state: State | None) -> _NamedState:
        if state is None:
            return _CLOSED
        names = self._names
        num, most, needed, broken, pool, posted, descriptors = state
        return (
            num, most, needed, broken,
            tuple([names[page] for page in pool]),
            tuple([(head, tuple([names[page] for page in pages])) for head, pages in posted]),
            tuple(descriptors),
        )  # fmt: skip

    def _packet(self, packet: Any, full: bool) -> tuple[Any, ...]:
        data = bytes(packet)
        header = packet.header
        fields = _HEADER.unpack(header.to_bytes())
        if not full:
            self.held.append(Seen(packet, ()))
            return len(data), crc32(data), fields, None, None, None, None
        linear, frags = packet.linear, tuple(packet.frags)
        parts = (linear, *frags) if linear else frags
        self.held.append(Seen(packet, tuple([page for page, _, _ in parts])))
        return len(data), crc32(data), fields, packet.head_len, linear, frags, packet.truesize

    def _name_pages(self, rows: list[tuple[Any, ...]], state: Any, free: Any) -> None:
        """Give every page that is seen its name, and check the laws of conservation."""
        old, new = self._names, {}
        held = self.held
        fresh = len(held) - len(rows)
        pages: list[int] = []
        for one in held[fresh:]:
            pages += one.pages
        posted = ()
        if state is not None:
            posted = state[5]
            for _, of_buffer in posted:
                pages += of_buffer
            pages += state[4]
        for one in held[:fresh]:
            pages += one.pages
        next_name = self._next_name
        for page in pages:
            name = old.get(page)
            if name is None:
                name = next_name
                next_name += 1
            new[page] = name
        self._names, self._next_name = new, next_name
        config = self._config
        if len(new) != len(pages):
            twice = next(page for page in pages if pages.count(page) > 1)
            self._violated(f"page {new[twice]} is in two places at once")
        elif len(new) + free != config.pages:
            self._violated(
                f"{len(new)} pages are posted, in the pool or held, and {free} are free: "
                f"{len(new) + free} of {config.pages}"
            )
        elif state is not None:
            if len(posted) != state[0]:
                self._violated(f"num is {state[0]}, but {len(posted)} buffers are posted")
            described = len(posted) * config.descriptors_per_buffer + len(state[6])
            if described != config.ring_size:
                self._violated(f"{described} descriptors of {config.ring_size} are posted or free")

    def _violated(self, text: str) -> None:
        if self.broken_law is None:
            self.broken_law = text

    def _renamed(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        names = self._names
        size, crc, header, head, linear, frags, truesize = row
        if linear:
            linear = (names[linear[0]], linear[1], linear[2])
        parts = tuple([(names[page], at, length) for page, at, length in frags])
        return size, crc, header, head, linear, parts, truesize

    def _published(self, idx: int) -> tuple[Any, ...]:
        """The chains that were added to the avail ring, as they stand in the descriptor table."""
        last, self._last_idx = self._last_idx, idx
        added = idx - last & 0xFFFF
        if not added or added > self._size:
            return ()
        entries, mask = self._avail + 4, self._size - 1
        chains = []
        for index in range(last, last + added):
            head = self._load16(entries + 2 * (index & mask))
            chains.append((head, self._chain(head)))
        return tuple(chains)

    def _chain(self, at: int) -> tuple[Any, ...]:
        chain: list[tuple[Any, ...]] = []
        page_of = self._driver.page_of if self._full else None
        while at < self._size and len(chain) < self._size:
            addr, length, flags, after = _DESC.unpack(self._read(self._desc + 16 * at, 16))
            if page_of is None:
                chain.append((None, None, length, flags, after))
            else:
                page = page_of(addr)
                name = None if page is None else self._names.get(page)
                offset = addr if name is None else addr & 4095
                chain.append((name, offset, length, flags, after))
            if not flags & _NEXT:
                break
            at = after
        return tuple(chain)


_FULL: Final = ("state", "arena_free", "page_of")

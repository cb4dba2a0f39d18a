"""A split ring in a user's hands."""

from typing import Any, final

from vnet_rx.errors import ClosedError, ConfigError, QueueBroken, RingRunning
from vnet_rx.reference.config import ring_size_of, within
from vnet_rx.reference.memory.arena import PageArena
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.ring.split import SplitRing, Untrusted
from vnet_rx.reference.virtio import RingLayout


@final
class Vring:
    """A split ring and its driver half (RECEIVE.md, section 6).

    A buffer is a list of ``(guest address, length)`` with a token, any object, which comes back
    from ``get_buf`` or ``detach_unused_buf``.
    """

    __slots__ = ("_arena", "_loaded", "_ring", "_stopped")

    def __init__(
        self, arena: PageArena, size: int = 256, event_idx: bool = False, first_index: int = 0
    ) -> None:
        ring_size_of(size)
        within("first_index", first_index, 0, 65535)
        self._arena = arena
        self._ring = SplitRing(arena, size, event_idx, first_index)
        self._loaded: int | None = None  # of used.idx, by enable_cb
        self._stopped = False

    def add(self, segments: list[tuple[int, int]], token: object) -> int:
        """Posts a buffer, and returns the id of its chain's head. Raises ``RingFull``."""
        for addr, length in segments:
            if not 0 <= length < 2**32:
                raise OverflowError(f"a length of {length} does not fit into 32 bits")
            self._arena.memory.offset(addr, length)
        if self._stopped:
            raise ClosedError("the ring is stopped")
        if not segments:
            raise ConfigError("a buffer needs at least one segment")
        return self._ring.add(segments, token)

    def publish(self) -> bool:
        """Makes what was added visible to the device; whether it wants to be kicked."""
        return self._ring.publish()

    def get_buf(self) -> tuple[Any, int] | None:
        """The next completion: ``(token, bytes the device says it wrote)``, or None.

        Raises ``QueueBroken`` when what the device wrote cannot be.
        """
        ring = self._ring
        try:
            if not ring.completed:
                index, self._loaded = self._loaded, None
                ring.refresh(index)
            if not ring.completed:
                return None
            head, length = ring.entry(0)
            token = ring.token(head)
        except Untrusted as broken:
            raise QueueBroken(broken.fault) from None
        ring.consume([head])
        return token, length

    def disable_cb(self) -> None:
        """Asks the device for silence."""
        self._ring.disarm()

    def enable_cb(self) -> bool:
        """Asks the device for a notification and looks again: True when there was nothing more, so
        that sleeping is safe; else what it saw is what comes next (section 12)."""
        ring = self._ring
        if ring.completed:
            return False
        ring.arm()
        self._loaded = ring.look_again()
        return self._loaded is None

    def stop(self) -> None:
        """Stops the ring, for good."""
        self._stopped = True

    def detach_unused_buf(self) -> Any:
        """The token of a buffer that was never completed, lowest id first, or None.

        Raises ``RingRunning`` unless the ring was stopped.
        """
        if not self._stopped:
            raise RingRunning("the ring is running: stop it before detaching its buffers")
        buffer = self._ring.detach()
        return None if buffer is None else buffer[1]

    def __del__(self) -> None:
        if hasattr(self, "_stopped"):
            self._ring.close()

    @property
    def layout(self) -> RingLayout:
        """Where the ring lies, for the device."""
        return self._ring.layout

    @property
    def memory(self) -> SharedMemory:
        """The memory that it lies in."""
        return self._arena.memory

    @property
    def num_free(self) -> int:
        """How many descriptors are free."""
        return self._ring.num_free

    @property
    def outstanding(self) -> int:
        """How many buffers the device has."""
        return self._ring.outstanding

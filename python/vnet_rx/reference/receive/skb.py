"""The allocation of skbs, as far as it can be observed: counted, and made to fail."""

from vnet_rx.reference.memory.arena import PageArena
from vnet_rx.reference.memory.failure import Failing
from vnet_rx.reference.receive.stats import Counters


class Skbs:
    """Where a queue's skbs come from and go to."""

    __slots__ = ("_arena", "_counters", "failing")

    def __init__(self, arena: PageArena, counters: Counters) -> None:
        self._arena = arena
        self._counters = counters
        self.failing = Failing()

    def alloc(self) -> bool:
        """An skb with a private head of 128 bytes; whether there was one."""
        if self.failing.count and self.failing.now():
            return False
        self._counters.skb_allocs += 1
        return True

    def alloc_linear(self) -> int | None:
        """An skb with a device-visible linear part, one page of the arena; one allocation."""
        if self.failing.count and self.failing.now():
            return None
        page = self._arena.take()
        if page is not None:
            self._counters.skb_allocs += 1
        return page

    def free(self, count: int) -> None:
        """So many skbs are no more."""
        self._counters.skb_frees += count

"""Pages that a device can see (RECEIVE.md, section 2)."""

from typing import final

from vnet_rx.errors import ClosedError, ConfigError, OutOfPages
from vnet_rx.reference.memory.failure import Failing
from vnet_rx.reference.memory.shared import SharedMemory
from vnet_rx.reference.virtio import PAGE_SIZE, aligned

# Room for the rings of the queues that use an arena lies in front of its pages.
RING_AREA = 4 << 20


@final
class PageArena:
    """``pages`` device-visible pages of 4096 bytes. It stands for a kernel's page allocator.

    Inside the engine a page is its number. ``Page`` is one in the hands of a user.
    """

    __slots__ = ("_failing", "_fresh", "_rings", "_spare", "memory", "page_allocs", "page_frees",
                 "pages")  # fmt: skip

    def __init__(self, pages: int) -> None:
        if pages < 0:
            raise ConfigError(f"pages {pages} is not possible: choose 0 to {2**63 - 1}")
        if pages == 0:
            raise ConfigError("an arena of 0 pages is not possible: give 1 or more")
        try:
            self.memory = SharedMemory(RING_AREA + PAGE_SIZE * pages)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"a shared memory region of {RING_AREA + PAGE_SIZE * pages} bytes cannot be made "
                f"({error}): give fewer pages"
            ) from None
        self.pages = pages
        self.page_allocs = self.page_frees = 0
        # Free are: those that came back, the last on top, then all from _fresh on, in order.
        self._spare: list[int] = []
        self._fresh = 0
        self._failing = Failing()
        self._rings: dict[int, int] = {}

    # -- for the engine: pages by number

    def take(self) -> int | None:
        """A page's number; None when there is none, or this attempt shall fail."""
        if self._failing.count and self._failing.now():
            return None
        if self._spare:
            page = self._spare.pop()
        elif self._fresh < self.pages:
            page = self._fresh
            self._fresh += 1
        else:
            return None
        self.page_allocs += 1
        return page

    def put(self, chain: list[int]) -> None:
        """Takes a chain of pages back; its first is handed out next (section 12)."""
        self._spare.extend(reversed(chain))
        self.page_frees += len(chain)

    def take_ring(self, length: int, size: int) -> int:
        """The offset of ``length`` zeroed bytes for a ring of ``size``."""
        at = 0
        for start, end in sorted(self._rings.items()):
            if at + length <= start:
                break
            at = aligned(end, PAGE_SIZE)
        if at + length > RING_AREA:
            raise ConfigError(
                f"no room for a ring of {size} in this arena: close another queue or make "
                "another arena"
            )
        self._rings[at] = at + length
        self.memory.view[at : at + length] = bytes(length)
        return at

    def put_ring(self, at: int) -> None:
        """Takes a ring's bytes back."""
        self._rings.pop(at, None)

    # -- for users

    @property
    def free(self) -> int:
        """How many pages are free."""
        return len(self._spare) + self.pages - self._fresh

    @property
    def free_pages(self) -> list[int]:
        """The free pages, the one that is handed out next first."""
        return [*reversed(self._spare), *range(self._fresh, self.pages)]

    def alloc_page(self) -> "Page":
        """Takes a page; page 0 is handed out first. Raises ``OutOfPages``."""
        page = self.take()
        if page is None:
            raise OutOfPages(
                f"no page is free ({self.free} of {self.pages} are): release packets or make a "
                "larger arena"
            )
        return Page(self, page)

    def put_page(self, page: "Page") -> None:
        """Takes a page back. Raises ``ClosedError`` if it is not yours any more."""
        self.put([page.surrender(self)])

    def fail_allocs(self, skip: int, count: int) -> None:
        """Lets ``skip`` more allocations succeed and ``count`` after them fail."""
        self._failing.set(skip, count)

    def address_of(self, page: int) -> int:
        """The guest address of a page."""
        if not 0 <= page < self.pages:
            raise ConfigError(f"page {page} does not exist: choose 0 to {self.pages - 1}")
        return SharedMemory.GUEST_BASE + RING_AREA + PAGE_SIZE * page

    def __repr__(self) -> str:
        return f"PageArena(pages={self.pages}, free={self.free})"


@final
class Page:
    """A page in your hands. It goes back to its arena when nobody holds it any more."""

    __slots__ = ("_arena", "_number", "_yours")

    def __init__(self, arena: PageArena, number: int) -> None:
        self._arena, self._number, self._yours = arena, number, True

    @property
    def number(self) -> int:
        """Its number in the arena, from 0 on."""
        return self._number

    @property
    def address(self) -> int:
        """Its guest address."""
        return self._arena.address_of(self._number)

    def check(self, arena: PageArena) -> None:
        """Raises ``ConfigError`` or ``ClosedError`` where the page cannot be given to ``arena``."""
        if arena is not self._arena:
            raise ConfigError(f"page {self._number} belongs to another arena: give it back there")
        if not self._yours:
            raise ClosedError(f"page {self._number} was given back already")

    def surrender(self, arena: PageArena) -> int:
        """Gives the page out of the user's hands, once; its number."""
        self.check(arena)
        self._yours = False
        return self._number

    def __del__(self) -> None:
        if self._yours:
            self._yours = False
            self._arena.put([self._number])

    def __repr__(self) -> str:
        return f"Page(number={self._number})"

"""The pool of a receive queue: pages that wait to be posted again (RECEIVE.md, section 2)."""

from typing import final

from vnet_rx.errors import ClosedError, OutOfPages
from vnet_rx.reference.memory.arena import Page, PageArena
from vnet_rx.reference.receive.stats import Counters


class Pool:
    """A LIFO of page numbers. A chain is a list of them.

    The kernel and the native engine link pages through a word per page; a list whose end is the
    head says the same.
    """

    __slots__ = ("_arena", "_counters", "_mutants", "_pages")

    def __init__(
        self, arena: PageArena, counters: Counters, mutants: frozenset[str] = frozenset()
    ) -> None:
        self._arena = arena
        self._counters = counters
        self._mutants = mutants
        self._pages: list[int] = []

    def give(self, chain: list[int]) -> None:
        """``give_pages``: sews a whole chain, in its own order, in front of the pool."""
        self._pages.extend(reversed(chain))
        self._counters.pool_gives += len(chain)

    def get(self) -> int | None:
        """``get_a_page``: takes the head; an empty pool falls through to the arena."""
        if not self._pages:
            return self._arena.take()
        self._counters.pool_gets += 1
        if "M20" in self._mutants:
            return self._pages.pop(0)
        return self._pages.pop()

    def drain(self) -> list[int]:
        """All pages, head first; the pool is empty then."""
        pages = self.pages
        self._pages.clear()
        return pages

    @property
    def pages(self) -> list[int]:
        """The pages, head first."""
        return self._pages[::-1]


@final
class PagePool:
    """A LIFO of pages over an arena, linked through their private words (RECEIVE.md, section 2)."""

    __slots__ = ("_arena", "_pool")

    def __init__(self, arena: PageArena) -> None:
        self._arena = arena
        self._pool = Pool(arena, Counters())

    def give_pages(self, pages: list[Page]) -> None:
        """Sews a chain of pages, in its order, in front of the pool: all of them or, where one
        cannot be given, none."""
        for i, page in enumerate(pages):
            page.check(self._arena)
            if page in pages[:i]:
                raise ClosedError(f"page {page.number} is in the chain twice: give it once")
        self._pool.give([page.surrender(self._arena) for page in pages])

    def get_a_page(self) -> Page:
        """Takes the head; an empty pool falls through to the arena. Raises ``OutOfPages``."""
        page = self._pool.get()
        if page is None:
            raise OutOfPages(
                f"the pool is empty and no page is free ({self._arena.free} of "
                f"{self._arena.pages} are): release packets or make a larger arena"
            )
        return Page(self._arena, page)

    @property
    def pages(self) -> list[int]:
        """The numbers of the pages in the pool, head first."""
        return self._pool.pages

    def __len__(self) -> int:
        return len(self._pool.pages)

    def __del__(self) -> None:
        self._arena.put(self._pool.drain())

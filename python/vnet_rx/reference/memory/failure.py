"""Chosen allocations can be made to fail."""


class Failing:
    """``skip`` more attempts succeed, then ``count`` fail (RECEIVE.md, section 2)."""

    __slots__ = ("count", "skip")

    def __init__(self) -> None:
        self.skip = self.count = 0

    def set(self, skip: int, count: int) -> None:
        """Makes attempts fail from now on, in place of what was set before."""
        for value in (skip, count):
            if value < 0:
                raise OverflowError("can't convert negative int to unsigned")
            if value >= 2**64:
                raise OverflowError("int too big to convert")
        self.skip, self.count = skip, count

    def now(self) -> bool:
        """Whether this attempt fails."""
        if not self.count:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.count -= 1
        return True

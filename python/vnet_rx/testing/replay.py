"""A kept scenario, run again: does it still show what it showed, or is it mended?"""

from dataclasses import dataclass

from vnet_rx.testing.compare import Divergence, diff
from vnet_rx.testing.driver import Factory
from vnet_rx.testing.run import digests
from vnet_rx.testing.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay."""

    divergence: Divergence | None
    """Where the two implementations differ."""
    unexpected: int | None
    """The first operation, from 0, after which the right one is not observed as ``expect`` says."""

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        return self.divergence is None and self.unexpected is None


def replay(left: Factory, right: Factory, scenario: Scenario) -> Replayed:
    """Compare the two, and the right one, which shows everything, with what is expected."""
    divergence = diff(left, right, scenario)
    unexpected = None
    if scenario.expect is not None:
        pairs = enumerate(zip(digests(right, scenario), scenario.expect, strict=True))
        unexpected = next((i for i, (is_now, was) in pairs if is_now != was), None)
    return Replayed(divergence, unexpected)

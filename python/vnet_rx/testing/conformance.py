"""A test suite for a driver of your own, to be run by pytest.

Subclass it in a test file and give it your factory, or name the factory on pytest's command line
(``--rx-driver package.module:factory``) or in the environment (``VNET_RX_DRIVER``)::

    from vnet_rx.testing.conformance import RxConformance

    class TestMyDriver(RxConformance):
        modes = ("small", "mergeable")
        dialects = ("modern",)

        def make_driver(self, config):
            return MyDriver(config)

Everything is compared with ``vnet_rx.reference``. A failure prints the operations that led there
in words, and what each side did.
"""

import os
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from vnet_rx.testing.campaign import shrink
from vnet_rx.testing.compare import diff
from vnet_rx.testing.driver import Factory, Reference, RxDriver, load
from vnet_rx.testing.faults import CATALOGUE, POLL, send
from vnet_rx.testing.generate import Limits, case_seed, generate
from vnet_rx.testing.scenario import Config, Scenario
from vnet_rx.testing.schema import DIALECTS, MODES


def configured(config: pytest.Config) -> Factory | None:
    """The factory that pytest's command line or the environment names."""
    name = config.getoption("--rx-driver", None) or os.environ.get("VNET_RX_DRIVER")
    return load(name) if name else None


class RxConformance:
    """What any virtio-net receive queue should pass. Not collected itself; subclass it."""

    modes: ClassVar[Sequence[str]] = MODES
    """Buffer modes that the driver has."""
    dialects: ClassVar[Sequence[str]] = DIALECTS
    """Dialects that it speaks."""
    event_idx: ClassVar[Sequence[bool]] = (True, False)
    """Ways of notification that it knows."""
    ring_size: ClassVar[int] = 64
    first_indices: ClassVar[Sequence[int]] = (0, 65_534)
    """Where rings start; leave (0,) for a driver that cannot choose."""
    random_cases: ClassVar[int] = 300
    """Random scenarios in ``test_random_scenarios``."""
    seed: ClassVar[int] = 0

    def make_driver(self, config: Config) -> RxDriver:
        """The driver for a configuration: override this, or name a factory to pytest."""
        if self._named is None:
            pytest.fail(
                "no driver: override make_driver, or give --rx-driver package.module:factory"
            )
        return self._named(config)

    _named: Factory | None = None

    @pytest.fixture(autouse=True)
    def _configured(self, request: pytest.FixtureRequest) -> None:
        self._named = configured(request.config)

    def configs(self) -> Iterator[Config]:
        """Every kind of queue that the driver has."""
        for mode in self.modes:
            for dialect in self.dialects:
                for event_idx in self.event_idx:
                    for first in self.first_indices:
                        yield Config(
                            mode, "deferred", dialect, 1000, self.ring_size, event_idx,
                            first_index=first,
                        )  # fmt: skip

    def check(self, scenario: Scenario) -> None:
        """Fail, with the whole story, unless the driver does as the reference does."""
        divergence = diff(self.make_driver, Reference(), scenario)
        if divergence is not None:
            pytest.fail(
                shrink(self.make_driver, Reference(), divergence, tries=500).report(), pytrace=False
            )

    @pytest.mark.parametrize("size", (14, 60, 127, 128, 129, 1514, 1518, 4084, 9000, 65_535))
    def test_good_packets_arrive(self, size: int) -> None:
        """Packets of every size that the mode carries arrive as they were sent."""
        for config in self.configs():
            if size > 1518 and config.mode == "small":
                continue
            one = [send(size, seed=1), send(60, seed=2), POLL, {"op": "release_all"}]
            self.check(Scenario.of(config, [{"op": "refill"}, *one * 5]))

    @pytest.mark.parametrize("number", CATALOGUE)
    def test_fault(self, number: str) -> None:
        """One fault of the catalogue in every way to provoke it, and the next good packet."""
        for config in self.configs():
            for case in CATALOGUE[number].cases(config):
                mend = [{"op": "reset"}] if case.answer in ("break", "any") else []
                after = [*mend, {"op": "refill"}, send(77), POLL]
                operations = [{"op": "refill"}, *case.operations, *after]
                self.check(Scenario.of(case.config or config, operations))

    def test_random_scenarios(self) -> None:
        """Random operations, a device that is hostile now and then."""
        limits = Limits(self.modes, ("deferred",), self.dialects)
        for case in range(self.random_cases):
            scenario = generate(case_seed(self.seed, case), limits)
            if scenario.config.event_idx in self.event_idx:
                self.check(scenario)

"""One scenario through one driver."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from zlib import crc32

from vnet_rx.errors import VnetRxError
from vnet_rx.testing.device import Device
from vnet_rx.testing.driver import DriverError, Factory, make
from vnet_rx.testing.limit import of_the_driver
from vnet_rx.testing.observe import Observation, Observer
from vnet_rx.testing.scenario import Operation, Scenario


@dataclass(slots=True)
class Trace:
    """What was seen after each operation, and the first law that did not hold."""

    observations: list[Observation] = field(default_factory=list)
    broken_law: str | None = None


class Run:
    """A driver and a device, taken through operations one by one."""

    def __init__(self, factory: Factory, scenario: Scenario) -> None:
        config = scenario.config
        self.scenario = scenario
        self.driver: Any = make(factory, config)
        try:
            self.device = Device(
                self.driver.memory,
                self.driver.layout,
                config.header_len,
                mergeable=config.mode == "mergeable",
                first_index=config.first_index,
            )
            self._observer = Observer(self.driver, config)
        except Exception as error:
            raise DriverError(f"the driver's memory or layout is not usable: {error!r}") from error
        self._shows_state = hasattr(self.driver, "state")
        self._hooked = bool(getattr(self.driver, "takes_hook", False))
        self._points: list[str] = []
        self._packets: Iterable[Any] = ()
        driver: Any = self.driver
        acts: dict[str, Callable[[Operation], Any]] = {
            "refill": lambda op: driver.refill(),
            "poll": self._poll,
            "release": lambda op: self._release(op["packet"]),
            "release_all": lambda op: self._release_all(),
            "reset": lambda op: self._reset(),
            "close": lambda op: driver.close(),
            "device": lambda op: self.device.act_all(op["do"]),
            "fail_pages": lambda op: driver.fail_pages(op["skip"], op["count"]),
            "fail_skbs": lambda op: driver.fail_skbs(op["skip"], op["count"]),
            "watchdog": lambda op: driver.watchdog(),
            "disconnect": lambda op: driver.disconnect(),
            "stop": lambda op: driver.stop(),
            "detach": lambda op: driver.detach(),
        }
        self._acts = acts

    @property
    def broken_law(self) -> str | None:
        """The first law of conservation that did not hold."""
        return self._observer.broken_law

    def step(self, operation: Operation) -> Observation:
        """Perform one operation and look."""
        self._points = []
        self._packets = ()
        result: tuple[Any, ...]
        try:
            value = self._acts[operation["op"]](operation)
            # How many buffers a driver posts, and what lies in one later, is its own business.
            result = ("ok", value if self._shows_state or operation["op"] == "poll" else None)
        except DriverError:
            raise
        except VnetRxError as error:
            result = ("error", error.code, getattr(error, "fault", None))
        except BaseException as error:
            if not of_the_driver(error):
                raise
            result = ("raised", type(error).__name__, str(error))
        called = operation["op"] not in _DRIVER_NOT_CALLED
        return self._observer.observe(result, self._points, self._packets, called)

    def finish(self) -> None:
        """Give back whatever is still held. Raises ``DriverError`` if that cannot be."""
        try:
            self._release_all()
            self.driver.close()
        except BaseException as error:
            if not of_the_driver(error):
                raise
            raise DriverError(f"the driver raised {error!r} when all was over") from error

    def _poll(self, operation: Operation) -> int:
        budget, places = operation["budget"], operation["at"]
        if not self._hooked:
            packets = self.driver.poll(budget)
        elif not places:
            packets = self.driver.poll(budget, self._points.append)
        else:
            packets = self.driver.poll(budget, self._acting_hook(places))
        try:
            one_by_one = iter(packets)
        except TypeError:
            kind = type(packets).__name__
            raise DriverError(f"poll returned {kind} in place of packets") from None
        # One too many tells enough of a driver that does not stop.
        self._packets = received = list(islice(one_by_one, budget + 1))
        return len(received)

    def _acting_hook(self, places: Iterable[Mapping[str, Any]]) -> Callable[[str], None]:
        points, device = self._points, self.device

        def hook(point: str) -> None:
            points.append(point)
            passed = points.count(point)
            for place in places:
                if place["point"] == point and place["pass"] == passed:
                    device.act_all(place["do"])

        return hook

    def _reset(self) -> None:
        self.driver.reset()
        self.device.restart()
        self._observer.restarted()

    def _release(self, number: int) -> int | None:
        held = self._observer.held
        if not held:
            return None
        packet = held.pop(number % len(held)).packet
        crc = crc32(bytes(packet))
        _let_go(packet)
        return crc

    def _release_all(self) -> int:
        held = self._observer.held
        count = len(held)
        for one in held:
            _let_go(one.packet)
        held.clear()
        return count


_DRIVER_NOT_CALLED: Final = ("device",)


def _let_go(packet: Any) -> None:
    release = getattr(packet, "release", None)
    if release is not None:
        release()


def digests(factory: Factory, scenario: Scenario) -> tuple[int, ...]:
    """The numbers that ``Scenario.expect`` has, without keeping what they are made of.

    Raises ``DriverError`` as ``run`` does.
    """
    at_work = Run(factory, scenario)
    found = tuple([at_work.step(operation).digest() for operation in scenario.operations])
    at_work.finish()
    return found


def run(factory: Factory, scenario: Scenario) -> Trace:
    """Run a scenario through the driver that ``factory`` makes.

    Raises ``DriverError`` when there is no such driver; whatever the driver does otherwise is
    observed.
    """
    at_work = Run(factory, scenario)
    trace = Trace()
    for operation in scenario.operations:
        trace.observations.append(at_work.step(operation))
    trace.broken_law = at_work.broken_law
    at_work.finish()
    return trace

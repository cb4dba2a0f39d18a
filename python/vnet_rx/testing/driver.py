"""Drivers under test: what the kit asks of one, and the engine and the reference as such."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from types import ModuleType
from typing import Any, Final, Protocol, runtime_checkable

from vnet_rx.errors import ConfigError
from vnet_rx.testing.limit import of_the_driver
from vnet_rx.testing.memory import Layout, RingMemory
from vnet_rx.testing.scenario import Config, Scenario

COUNTERS: Final = (
    "rx_packets", "rx_bytes", "rx_length_errors", "rx_frame_errors", "rx_dropped", "skb_allocs",
    "skb_frees", "page_allocs", "page_frees", "pool_gets", "pool_gives", "bytes_copied",
    "buffers_posted", "kicks", "polls",
)  # fmt: skip
"""The counters of RECEIVE.md, section 10, in the order of an observation."""

FAULTS: Final = (
    "ShortPacket", "LengthOverrun", "TooManyFrags", "ZeroBuffers", "EmptyBuffer",
    "IncompletePacket", "BufferCount", "BadUsedId", "IndexJump", "Disconnected", "BadChecksum",
    "BadGso", "NotNegotiated", "PartialBuffer",
)  # fmt: skip
"""Every DeviceFault of RECEIVE.md, section 5, in its order there."""


@runtime_checkable
class RxDriver(Protocol):
    """A virtio-net receive queue as the kit drives it: the least that a driver must show.

    A driver of your own is wrapped in a class with these, and a factory ``make(config) -> driver``
    that builds it for a ``vnet_rx.testing.Config``. It may show more; the kit uses what is there:

    - ``poll(budget, hook)`` where ``takes_hook`` is True: calls ``hook`` at the interleave points;
    - ``fail_pages(skip, count)``, ``fail_skbs(skip, count)``, ``watchdog()``, ``disconnect()``,
      ``stop()``, ``detach()``: operations that are left out for drivers without them;
    - ``counters()``, ``state()``, ``arena_free()``, ``page_of(addr)``: see ``EngineDriver``;
    - ``passive``, True where those change only when the driver is called: they are asked less.

    A driver whose queue broke raises ``vnet_rx.errors.QueueBroken(fault)`` from ``poll`` and
    ``refill`` from the next call on.
    """

    @property
    def memory(self) -> RingMemory:
        """The memory that the ring and the buffers lie in."""

    @property
    def layout(self) -> Layout:
        """Where the ring lies."""

    def refill(self) -> int | None:
        """Post buffers until the ring is full; how many, or None."""

    def poll(self, budget: int, /) -> Iterable[Any]:
        """At most ``budget`` packets: each with ``bytes(packet)`` and ``packet.header``."""

    def reset(self) -> None:
        """Take all buffers back and start the ring anew, with nothing posted."""

    def close(self) -> None:
        """Give everything back."""


Factory = Callable[[Config], RxDriver]
"""Makes the driver for a configuration."""

State = tuple[
    int, int, bool, str | None, Sequence[int], Sequence[tuple[int, Sequence[int]]], Sequence[int]
]
"""num, max, refill_needed, broken, pool, posted, free_descriptors."""

_counters: Final = attrgetter(*COUNTERS)
_faults: Final = itemgetter(*FAULTS)


class EngineDriver:
    """The classes of ``vnet_rx`` or ``vnet_rx.reference``, which show everything there is."""

    takes_hook = True
    passive = True
    """It changes only when it is called, not by itself."""

    def __init__(self, module: Any, config: Config, **extra: Any) -> None:
        settings = config.fields()
        self.arena = module.PageArena(settings.pop("pages"))
        self.rx = module.RxQueue(module.RxConfig(**settings), self.arena, **extra)
        self.memory: RingMemory = self.arena.memory
        self.layout: Layout = self.rx.layout
        self._first_page: int = self.arena.address_of(0)
        self._end: int = self._first_page + 4096 * config.pages
        rx = self.rx
        self.refill, self.poll, self.reset, self.close = rx.refill, rx.poll, rx.reset, rx.close
        self.watchdog, self.disconnect, self.stop = rx.watchdog, rx.disconnect, rx.stop
        self.detach, self.fail_skbs = rx.detach_unused_buf, rx.fail_skb_allocs
        self.fail_pages = self.arena.fail_allocs

    def counters(self) -> tuple[int, ...]:
        """The counters in the order of ``COUNTERS`` and ``FAULTS``."""
        stats = self.rx.stats()
        counts: tuple[int, ...] = _counters(stats) + _faults(stats.faults)
        return counts

    def state(self) -> State | None:
        """What the queue holds, or None once it was closed."""
        rx = self.rx
        if rx.closed:
            return None
        return (
            rx.num, rx.max, rx.refill_needed, rx.broken, rx.pool, rx.posted, rx.free_descriptors
        )  # fmt: skip

    def arena_free(self) -> int:
        """Pages that are free."""
        free: int = self.arena.free
        return free

    def page_of(self, addr: int) -> int | None:
        """The number of the page that a guest address lies in, or None outside the arena."""
        return addr - self._first_page >> 12 if self._first_page <= addr < self._end else None


class Engine:
    """The Rust engine. As a factory it makes queues that the device in Python drives."""

    name = "engine-steps"

    def __call__(self, config: Config) -> RxDriver:
        """The queue for a configuration."""
        return EngineDriver(_module("vnet_rx"), config)


class NativeEngine:
    """The Rust engine with the device in Rust as well: whole scenarios at once, and fast."""

    name = "engine"
    step_by_step = Engine()

    def __init__(self) -> None:
        from vnet_rx._core import run_scenario

        self._run = run_scenario

    def __call__(self, config: Config) -> RxDriver:
        """The queue for a configuration, to be taken through operations one by one."""
        return self.step_by_step(config)

    def trace(self, scenario: Scenario) -> Iterable[tuple[Any, ...]]:
        """What is observed after each operation, as plain tuples; run as they are asked for."""
        return self._run(scenario.to_json())


class Reference:
    """The factory of the Python reference's queues, with the mutants given switched on."""

    def __init__(self, *mutants: str) -> None:
        from vnet_rx import reference

        for mutant in mutants:
            if mutant not in reference.MUTANTS:
                known = ", ".join(reference.MUTANTS)
                raise ConfigError(f"unknown mutant {mutant!r}: choose among {known}")
        self._extra = {"mutants": mutants} if mutants else {}
        self.name = "+".join(["reference", *mutants])

    def __call__(self, config: Config) -> RxDriver:
        """The queue for a configuration."""
        return EngineDriver(_module("vnet_rx.reference"), config, **self._extra)


class DriverError(ConfigError):
    """A driver under test that cannot be had or does not keep to its contract: not a divergence."""

    code = "driver"


def load(path: str) -> Factory:
    """The factory that ``package.module:name`` names.

    ``engine`` and ``reference`` are names too; ``reference+M01`` is the reference with mutants,
    ``engine-steps`` the engine with the device in Python.
    Raises ``DriverError`` for one that does not exist.
    """
    if path == "engine":
        try:
            return NativeEngine()
        except ImportError as error:
            raise DriverError(
                f"driver 'engine' needs the native module vnet_rx._core ({error}): build it, or "
                "compare with 'reference' alone"
            ) from None
    if path == "engine-steps":
        return Engine()
    if path == "reference" or path.startswith("reference+"):
        return Reference(*path.split("+")[1:])
    where, colon, name = path.partition(":")
    if not colon or not where or not name:
        raise DriverError(f"driver {path!r} is not understood: give package.module:factory")
    try:
        found: object = importlib.import_module(where)
        for part in name.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise DriverError(f"driver {path!r} cannot be imported: {error}") from None
    except AttributeError:
        raise DriverError(f"driver {path!r}: module {where} has no {name!r}") from None
    except BaseException as error:
        if not of_the_driver(error):
            raise
        raise DriverError(f"driver {path!r} raised while imported: {error!r}") from error
    if not callable(found):
        raise DriverError(f"driver {path!r} is a {type(found).__name__}, not a factory")
    return found


def make(factory: Factory, config: Config) -> RxDriver:
    """The driver for a configuration. Raises ``DriverError`` for one that is none."""
    try:
        driver = factory(config)
    except DriverError:
        raise
    except BaseException as error:
        if not of_the_driver(error):
            raise
        raise DriverError(f"the driver factory raised {error!r} for {config}") from error
    if not isinstance(driver, RxDriver):
        lacking = [n for n in _LEAST if not hasattr(driver, n)]
        raise DriverError(
            f"the driver factory returned {type(driver).__name__}, which lacks {', '.join(lacking)}"
        )
    return driver


_LEAST: Final = ("memory", "layout", "refill", "poll", "reset", "close")


def _module(name: str) -> ModuleType:
    return importlib.import_module(name)

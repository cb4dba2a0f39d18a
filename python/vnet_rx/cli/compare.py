"""``vnet-rx compare``: a capture through every mode and strategy, checked and measured."""

import argparse
import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

from vnet_rx import Capture, Frames, Replay, RxConfig
from vnet_rx.cli.output import progress, table
from vnet_rx.errors import ConfigError

MODES = ("small", "big", "mergeable")
STRATEGIES = ("eager", "deferred")
DIALECTS = ("legacy", "modern")
SHIPPED = "mixed.pcapng"
# With fewer passes nothing is said of time: their quartiles mean little.
ENOUGH_PASSES = 8


@dataclass(frozen=True)
class Result:
    """What one mode and strategy made of the capture."""

    mode: str
    strategy: str
    features: list[str]
    offered: int
    delivered: int
    undeliverable: int
    mismatched: int
    passes: list[float]
    counters: dict[str, Any]

    @property
    def seconds(self) -> float:
        """The driver's work in all passes."""
        return sum(self.passes)

    @property
    def packets_per_second(self) -> float:
        """Delivered packets by the time of the driver's work, in the median pass."""
        return 1e9 / self.ns_per_packet if self.ns_per_packet else 0.0

    @property
    def ns_per_packet(self) -> float:
        """The driver's work for one delivered packet in the median pass, in nanoseconds."""
        return self.ns_quartiles[1]

    @property
    def ns_quartiles(self) -> tuple[float, float, float]:
        """Nanoseconds for one delivered packet that a quarter, half, three quarters stay below."""
        packets = self.delivered / len(self.passes)
        times = sorted(self.passes)
        low, median, high = (times[len(times) * k // 4] for k in (1, 2, 3))
        scale = 1e9 / packets if packets else 0.0
        return low * scale, median * scale, high * scale

    def per_packet(self, counter: str) -> float:
        """A counter by delivered packet."""
        return float(self.counters[counter]) / self.delivered if self.delivered else 0.0

    def as_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "mode": self.mode,
            "strategy": self.strategy,
            "features": self.features,
            "offered": self.offered,
            "delivered": self.delivered,
            "undeliverable": self.undeliverable,
            "mismatched": self.mismatched,
            "seconds": self.seconds,
            "packets_per_second": self.packets_per_second,
            "ns_per_packet": self.ns_per_packet,
            "counters": self.counters,
        }


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "compare",
        help="replay a capture in every mode, the old way and the new way",
        description="Replays a capture through an honest device and a receive queue for every "
        "buffer mode and strategy, checks every delivered packet byte for byte and field for "
        "field, and prints what each way cost. Only the driver's work is timed: polling, "
        "refilling, letting go of packets.",
        epilog="Exit status: 0 when every packet arrived as it was sent, 1 on any mismatch, 2 when "
        "the capture cannot be read or the configuration is not possible. Times on a busy machine "
        "vary; the counters do not.",
    )
    parser.add_argument(
        "capture",
        nargs="?",
        metavar="CAPTURE",
        help="a pcap or pcapng file of Ethernet frames (default: a capture of a Linux kernel's "
        "own traffic that ships with the package)",
    )
    parser.add_argument("--mode", choices=MODES, help="only this buffer mode")
    parser.add_argument("--strategy", choices=STRATEGIES, help="only this strategy")
    parser.add_argument(
        "--dialect", choices=DIALECTS, default="modern", help="header layout (default: modern)"
    )
    parser.add_argument(
        "--ring-size",
        type=int,
        default=256,
        metavar="N",
        help="descriptors, a power of two up to 32768 (default: 256)",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=20,
        metavar="N",
        help="replay the capture N times in each configuration (default: 20)",
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=Replay.DEFAULT_BUDGET,
        metavar="N",
        help=f"packets per poll (default: {Replay.DEFAULT_BUDGET})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry the sub-command out."""
    if options.repeat < 1:
        raise ConfigError(f"--repeat {options.repeat} is not possible: choose at least 1")
    configs = [
        RxConfig(mode=mode, strategy=strategy, dialect=options.dialect, ring_size=options.ring_size)
        for mode in MODES
        if options.mode in (None, mode)
        for strategy in STRATEGIES
        if options.strategy in (None, strategy)
    ]
    capture = read_capture(options.capture)
    results = compare(configs, capture.frames, options.repeat, options.budget)
    if options.json:
        config = {
            "dialect": options.dialect,
            "ring_size": options.ring_size,
            "repeat": options.repeat,
            "budget": options.budget,
        }
        shown = {
            "capture": capture.describe(),
            "config": config,
            "results": [result.as_json() for result in results],
        }
        print(json.dumps(shown, indent=2))
    else:
        print(report(capture, results, options))
    return 1 if any(result.mismatched for result in results) else 0


def read_capture(path: str | None) -> Capture:
    """The capture at ``path``, or the one that ships with the package."""
    if path is not None:
        return Capture(path)
    with as_file(files("vnet_rx") / "data" / SHIPPED) as shipped:
        return Capture(str(shipped))


def compare(configs: list[RxConfig], frames: Frames, repeat: int, budget: int) -> list[Result]:
    """Replay ``frames`` in every configuration.

    The configurations take turns, pass by pass: a disturbance of the machine hits all alike.
    """
    runs: list[tuple[RxConfig, Replay, list[float]]] = [
        (config, Replay(config, frames, budget), []) for config in configs
    ]
    with progress("comparing", repeat * len(runs)) as step:
        for _ in range(repeat):
            for _, replay, passes in runs:
                passes.append(replay.pass_once())
                step()
    return [
        Result(
            mode=config.mode,
            strategy=config.strategy,
            features=config.feature_names,
            passes=passes,
            counters=replay.stats().as_dict(),
            **replay.total(),
        )
        for config, replay, passes in runs
    ]


COLUMNS = (
    "mode", "strategy", "offered", "delivered", "undeliverable", "mismatched", "packets/s",
    "ns/packet", "skb allocs", "page allocs", "pool hits", "bytes copied",
)  # fmt: skip


def report(capture: Capture, results: list[Result], options: argparse.Namespace) -> str:
    """The table and what it says."""
    rows = [
        (
            result.mode,
            result.strategy,
            f"{result.offered}",
            f"{result.delivered}",
            f"{result.undeliverable}",
            f"{result.mismatched}",
            f"{result.packets_per_second:,.0f}",
            f"{result.ns_per_packet:.0f}",
            f"{result.per_packet('skb_allocs'):.2f}",
            f"{result.per_packet('page_allocs'):.2f}",
            f"{result.per_packet('pool_gets'):.2f}",
            f"{result.per_packet('bytes_copied'):.1f}",
        )
        for result in results
    ]
    lines = [
        f"{capture}, replayed {options.repeat} times; {options.dialect} dialect, "
        f"ring of {options.ring_size}, budget {options.budget}",
        "",
        table(COLUMNS, rows, left=2),
        "",
        "Allocations, pool hits and bytes copied are per delivered packet.",
        *(f"Features in {mode} mode: {' '.join(names)}" for mode, names in features(results)),
    ]
    if any(result.undeliverable for result in results):
        lines.append(
            "Undeliverable: too long for the mode, or in need of an offload it did not negotiate."
        )
    return "\n".join([*lines, "", *verdicts(results)])


def features(results: list[Result]) -> list[tuple[str, list[str]]]:
    """The features of each mode, once."""
    return list({result.mode: result.features for result in results}.items())


def verdicts(results: list[Result]) -> list[str]:
    """What deferring saved, in plain words; a bad result first."""
    wrong = [result for result in results if result.mismatched]
    if wrong:
        where = ", ".join(f"{result.mode} {result.strategy}" for result in wrong)
        return [f"MISMATCH: packets were not delivered as they were sent in {where}."]
    by_name = {(result.mode, result.strategy): result for result in results}
    lines = []
    for mode in MODES:
        old, new = by_name.get((mode, "eager")), by_name.get((mode, "deferred"))
        if old is not None and new is not None and old.delivered and new.delivered:
            lines.append(verdict(mode, old, new))
    return lines or ["Every delivered packet was what had been sent."]


def verdict(mode: str, old: Result, new: Result) -> str:
    """One sentence for one mode."""
    if mode == "small":
        return "In small mode there is nothing to defer: both strategies post an skb per buffer."
    skbs = old.per_packet("skb_allocs"), new.per_packet("skb_allocs")
    allocations = (
        f"Deferring took {skbs[1]:.2f} skb allocations per packet instead of {skbs[0]:.2f}"
        if f"{skbs[0]:.2f}" != f"{skbs[1]:.2f}"
        else f"Deferring took as many skb allocations per packet as before, {skbs[1]:.2f}"
    )
    (old_low, old_ns, old_high), (new_low, new_ns, new_high) = old.ns_quartiles, new.ns_quartiles
    enough = min(len(old.passes), len(new.passes)) >= ENOUGH_PASSES
    if enough and (new_high < old_low or old_high < new_low):
        change = (old_ns - new_ns) / old_ns * 100
        speed = f"{abs(change):.0f} % {'less' if change >= 0 else 'more'} driver time"
    else:
        speed = "no difference in driver time that stands out from the noise"
    return (
        f"{allocations}, and {speed} ({old_ns:.0f} -> {new_ns:.0f} ns), in {mode} mode on this "
        "capture."
    )

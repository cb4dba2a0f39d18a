"""Scenarios from a seed: random, but weighted so that they get deep.

A run of nothing but faults breaks the queue at once and sees nothing more. So most of what is made
is good traffic of every size that matters, on small rings near the wrap of the index, with little
memory; and into it go faults, tampering at the interleave points, failed allocations, and resets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from random import Random
from typing import Any, Final

from vnet_rx.errors import ConfigError
from vnet_rx.testing import schema
from vnet_rx.testing.scenario import GUEST_CSUM, Config, Scenario

Made = dict[str, Any]

_CSUM_SPOTS: Final = (0, 14, 34, 58, 60, 62, 98, 100, 126, 1498, 0x7FFF, 0xFFFE, 0xFFFF)
_GSO_TYPES: Final = (0, 1, 3, 4, 5, 0x81, 0x83, 0x84, 0x85, 2, 6, 0x7F, 0x80)
_SIZES: Final = (0, 1, 13, 14, 15, 60, 64, 126, 127, 128, 129, 130, 200, 1000, 1514, 1517, 1518)
_LARGE: Final = (1519, 4067, 4068, 4079, 4080, 4081, 4084, 4085, 4086, 4096, 8180, 9000, 65_535)
_TOTALS: Final = (0, 1, 9, 10, 11, 12, 13, 23, 24, 25, 26, 27, 60, 1528, 1529, 1530, 1531, 4095,
                  4096, 4097, 8192, 65_536, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)  # fmt: skip

# Used lengths of several buffers that go wrong together, or in the middle alone.
_LATER_LENGTHS: Final = (
    ((1, 0),), ((2, 0),), ((1, 0), (2, 60)), ((1, 4097),), ((2, 4097),), ((0, 12), (1, 13)),
    ((0, 12), (1, 14)), ((0, 12), (1, 0)), ((0, 0x8000_0000), (1, 0x8000_0000)),
    ((0, 12), (1, 0xFFFF_FFFF)),
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Which configurations may be made: all, unless something is given."""

    modes: Sequence[str] = schema.MODES
    strategies: Sequence[str] = schema.STRATEGIES
    dialects: Sequence[str] = schema.DIALECTS
    operations: tuple[int, int] = field(default=(4, 60))

    def __post_init__(self) -> None:
        for name, known in (
            ("modes", schema.MODES),
            ("strategies", schema.STRATEGIES),
            ("dialects", schema.DIALECTS),
        ):
            given = getattr(self, name)
            for one in given:
                if one not in known:
                    raise schema.wrong(name, one, f"choose among {', '.join(known)}")
            if not given:
                raise ConfigError(f"{name} is empty: choose among {', '.join(known)}")


def possible_seed(seed: int) -> int:
    """The seed of a campaign, if it is one. Raises ``ConfigError``."""
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed {seed} is not possible: choose 0 to 2^64 - 1")
    return seed


def case_seed(seed: int, case: int) -> int:
    """The seed of one case of a campaign: a keyed hash, so that no case depends on another."""
    key = seed.to_bytes(8, "little")
    return int.from_bytes(
        blake2b(case.to_bytes(8, "little"), key=key, digest_size=8).digest(), "little"
    )


def generate(seed: int, limits: Limits | None = None) -> Scenario:
    """The scenario for a seed: always the same."""
    return _Maker(Random(seed), limits or Limits()).scenario(seed)


class _Maker:
    """Draws one scenario."""

    def __init__(self, random: Random, limits: Limits) -> None:
        self.random, self.limits = random, limits
        self.chance: Callable[[float], bool] = lambda p: random.random() < p
        self.one_of = random.choice

    def scenario(self, seed: int) -> Scenario:
        self.config = self._config()
        # How hostile the device is as a whole; half of all runs are nearly honest.
        self.hostility = self.one_of((0.0, 0.02, 0.05, 0.15, 0.4))
        self.scarcity = self.one_of((0.0, 0.0, 0.05, 0.2))
        self.tampering = self.one_of((0.0, 0.1, 0.3))
        self.small_talk = self.chance(0.5)
        count = self.random.randint(*self.limits.operations)
        items: list[Made] = []
        while len(items) < count:
            items += self._operations()
        del items[count:]
        if self.chance(0.9):
            items.insert(0, {"op": "refill"})
        return Scenario(self.config, tuple([schema.filled(one["op"], one) for one in items]), seed)

    def _config(self) -> Config:
        one_of, limits = self.one_of, self.limits
        mode = one_of(limits.modes)
        dialect = one_of(limits.dialects)
        frags = 18 if self.chance(0.7) else one_of((1, 2, 3, 4, 17))
        legacy = dialect == "legacy"
        least = 1 if mode == "mergeable" else 1 + legacy if mode == "small" else frags + 1 + legacy
        sizes = [n for n in (2, 4, 8, 16, 32, 64) if n >= least]
        # One in a while is large enough for a packet of F + 1 buffers.
        ring_size = 32 if least <= 2 and self.chance(0.15) else one_of(sizes[:4])
        per_buffer = frags + 1 if mode == "big" else 1
        full = max(1, ring_size // least) * per_buffer
        pages = max(per_buffer, one_of((full, full + 1, 2 * full, 3 * full, 4 * full, full // 2)))
        first = 0 if self.chance(0.3) else (65_536 - self.random.randint(1, 3 * ring_size)) & 0xFFFF
        config = Config(
            mode=mode,
            strategy=one_of(limits.strategies),
            dialect=dialect,
            pages=pages,
            ring_size=ring_size,
            event_idx=self.chance(0.5),
            max_frags=frags,
            max_incomplete_polls=16 if self.chance(0.5) else one_of((1, 2, 3, 4)),
            first_index=first,
        )
        return self._other_features(config) if self.chance(0.2) else config

    def _other_features(self, config: Config) -> Config:
        """The same with some offloads not negotiated."""
        offloads = [GUEST_CSUM, *(1 << bit for bit in (7, 8, 9, 10, 54, 55))]
        bits = config.feature_bits
        for bit in offloads:
            if self.chance(0.4):
                bits &= ~bit
        fields = {**config.fields(), "features": bits}
        try:
            return Config(**fields)
        except ConfigError:
            # Without any of them it is not the same mode.
            return config

    # -- operations

    def _operations(self) -> list[Made]:
        """What happens next: one operation, or some that mean something together."""
        if self.config.mode == "mergeable" and self.chance(0.04):
            return self._split()
        maker: _Make
        maker = self.random.choices(_MAKERS, cum_weights=_WEIGHTS)[0]
        made = maker(self)
        return made if isinstance(made, list) else [made]

    def _split(self) -> list[Made]:
        """A packet whose buffers complete over several polls, or never all of them."""
        buffers = self.one_of((2, 2, 3, 3, 4, 5, self.config.max_frags + 1))
        made = self._send()
        made |= {"buffers": buffers, "size": self._spread(buffers)}
        made["hold"] = self.random.randint(1, buffers)
        items: list[Made] = [{"op": "device", "do": [made]}]
        for _ in range(self.random.randint(1, buffers + 3)):
            items.append(self._poll())
            if self.chance(0.5):
                more = {"act": "publish", "count": self.one_of((1, 1, 1, 2, 64))}
                items.append({"op": "device", "do": [more]})
            elif self.chance(self.hostility):
                # What was read of the packet that waits must not be read again.
                items.append({"op": "device", "do": self._written_over()})
        return items

    def _poll(self) -> Made:
        made: Made = {"op": "poll", "budget": self.one_of((1, 1, 2, 3, 8, 64, 64, 64))}
        if self.chance(self.tampering):
            places = [self._place() for _ in range(self.one_of((1, 1, 1, 2)))]
            made["at"] = places
        return made

    def _place(self) -> Made:
        point = self.one_of(schema.POINTS)
        if point == "header_copied" and self.chance(0.7):
            act = {"act": "rewrite", "back": self.one_of((0, 0, 0, 1, 2)), **self._header_bytes()}
            acts = [act]
        else:
            acts = self._actions(self.one_of((1, 1, 2)))
        return {"point": point, "pass": self.one_of((1, 1, 1, 2, 3)), "do": acts}

    def _header_bytes(self) -> Made:
        at, data = self.one_of(
            ((0, "01"), (0, "00"), (0, "0300"), (1, "07"), (4, "0000"), (6, "ffff"), (10, "ffff"),
             (10, "0000"), (10, "0200"), (10, "0100"), (6, "ffffffff"), (12, "dead"))
        )  # fmt: skip
        return {"at": at, "bytes": data}

    def _device(self) -> Made:
        return {"op": "device", "do": self._actions(self.one_of((1, 1, 2, 3, 6)))}

    def _release(self) -> Made:
        if self.chance(0.2):
            return {"op": "release_all"}
        return {"op": "release", "packet": self.random.randrange(8)}

    def _failure(self) -> Made:
        if not self.chance(4 * self.scarcity):
            return self._poll()
        what = self.one_of(("fail_pages", "fail_pages", "fail_skbs"))
        if self.chance(0.3):
            return {"op": what, "skip": 0, "count": 0}
        skip = self.one_of((0, 0, 1, 2, self.random.randrange(40)))
        return {"op": what, "skip": skip, "count": self.one_of((1, 1, 2, 5, 1000))}

    def _rare(self) -> list[Made]:
        kind = self.one_of(("watchdog", "watchdog", "stop", "detach", "disconnect"))
        if kind == "watchdog" and self.chance(0.5):
            # It kicks if nothing moved since the last time.
            return [{"op": kind}, {"op": kind}]
        if kind == "stop" and self.chance(0.7):
            detached = [{"op": "detach"} for _ in range(self.one_of((1, 2, 3)))]
            return [{"op": kind}, *detached, {"op": "reset"}]
        return [{"op": kind}]

    def _end(self) -> Made:
        return {"op": "close"} if self.chance(0.05) else {"op": "reset"}

    # -- actions

    def _actions(self, count: int) -> list[Made]:
        return [act for _ in range(count) for act in self._action()]

    def _action(self) -> list[Made]:
        if not self.chance(self.hostility):
            return [self._honest()]
        maker: _Make
        maker = self.random.choices(_FAULT_MAKERS, cum_weights=_FAULT_WEIGHTS)[0]
        made = maker(self)
        return made if isinstance(made, list) else [made]

    def _honest(self) -> Made:
        roll = self.random.random()
        if roll < 0.12:
            return {"act": "publish", "count": self.one_of((1, 1, 2, 64))}
        if roll < 0.16:
            return {"act": "event", "ahead": self.one_of((0, 0, 1, 2, 7, 0xFFFF, 0xFFFE, 0x8000))}
        if roll < 0.19:
            return {"act": "flags", "value": self.one_of((0, 0, 0, 1, 1, 2, 0xFFFE, 0xFFFF))}
        return self._send()

    def _send(self) -> Made:
        mergeable = self.config.mode == "mergeable"
        large = self.config.mode != "small" and self.chance(0.15 if self.small_talk else 0.4)
        size = self.one_of(_LARGE) if large else self.one_of(_SIZES[3:])
        if self.chance(0.2):
            size = self.random.randint(14, 1518)
        made: Made = {"act": "send", "size": size, "seed": self.random.randrange(256)}
        if mergeable and self.chance(0.25):
            frags = self.config.max_frags
            buffers = self.one_of((1, 2, 2, 3, 4, frags, frags + 1, frags + 1, frags + 2))
            made |= {"buffers": buffers, "size": self._spread(buffers)}
            if buffers == frags + 1 and self.chance(0.5):
                # As many as there may be, if the first fits the head (R5).
                made["fill"] = [self.one_of((139, 140, 140, 141))]
            elif self.chance(0.2):
                made["fill"] = [
                    self.one_of((12, 26, 140, 141, 4095)) for _ in range(min(buffers, 3))
                ]
        if self.chance(0.15):
            made["header"] = self._good_header(made["size"])
        if self.chance(0.2):
            made["hold"] = self.one_of((1, 1, 2, 3, 20))
        return made

    def _spread(self, buffers: int) -> int:
        """A size that ends in the last of so many full pages, or just about."""
        whole = (buffers - 1) * 4096 - 12
        return max(14, min(70_000, whole + self.one_of((1, 60, 4096, 129, 140, 0, -5000))))

    def _good_header(self, size: int) -> list[int]:
        kind = self.one_of((0, 0, 1, 4, 5, 3, 0x81))
        start = self.random.randrange(max(1, min(size - 2, 100)))
        offset = self.random.randrange(max(1, min(size - start - 1, 40)))
        return [
            1 | self.one_of((0, 2)),
            kind,
            self.one_of((0, 54)),
            1448 if kind else 0,
            start,
            offset,
        ]

    def _odd_header(self) -> Made:
        made = self._send()
        one_of = self.one_of
        made["header"] = [
            one_of((0, 1, 1, 2, 3, 0xFF)), one_of(_GSO_TYPES), one_of((0, 54, 0xFFFF)),
            one_of((0, 1, 1448)), one_of(_CSUM_SPOTS), one_of(_CSUM_SPOTS),
        ]  # fmt: skip
        if self.chance(0.3):
            # A checksum that ends where the packet does, or a byte before or behind.
            offset = one_of((0, 6, 16))
            start = made["size"] - offset - 2 + one_of((-1, 0, 1))
            if 0 <= start <= 0xFFFF:
                made["header"][4:] = [start, offset]
        return made

    def _odd_length(self) -> Made:
        made = self._send()
        mergeable = self.config.mode == "mergeable"
        if mergeable and self.chance(0.3):
            buffers = self.one_of((2, 3, 4))
            made |= {"buffers": buffers, "size": self._spread(buffers)}
            made["len"] = [list(pair) for pair in self.one_of(_LATER_LENGTHS)]
            return made
        lengths = []
        for _ in range(self.one_of((1, 1, 1, 2))):
            k = self.one_of((0, 0, 0, 1, 2)) if mergeable else 0
            values = self._length_limits() if self.chance(0.5) else _TOTALS
            lengths.append([k, self.one_of(values)])
        made["len"] = lengths
        return made

    def _length_limits(self) -> Sequence[int]:
        """Used lengths around the longest that there may be (R2, R3) and the shortest (R1)."""
        config = self.config
        if config.mode == "mergeable":
            limits = [4095, 4096, 4097, 4097, 8192]
        elif config.mode == "small":
            limits = [config.header_len + 1518 + d for d in (-1, 0, 1, 2)]
        else:
            limits = [config.max_frags * 4096 + d for d in (-7, -6, -5, -1, 0, 1, 4096, 4097)]
        return [*limits, config.header_len + 13, config.header_len + 14]

    def _odd_count(self) -> Made:
        made = self._send()
        frags, size = self.config.max_frags, self.config.ring_size
        made["num_buffers"] = self.one_of(
            (0, 0, 1, 2, 3, frags, frags + 1, frags + 2, size - 1, size, size + 1, 0xFFFF)
        )
        return made

    def _odd_id(self) -> Made:
        made = self._send()
        k = self.one_of((0, 0, 1, 2))
        size = self.config.ring_size
        if self.chance(0.3):
            made["id"] = [[k, self.one_of((0, 1, size - 1, size, 0xFFFF, 0xFFFF_FFFF))]]
        else:
            made["id_add"] = [[k, self.one_of((0x1_0000, 0x1_0000, 1, 2, size, 0x8000_0000))]]
        return made

    def _again(self) -> Made:
        made: Made = {"act": "again", "back": self.one_of((0, 0, 1, 2, 3, 10))}
        if self.chance(0.5):
            made["len"] = self.one_of((60, 100, 4096))
        return made

    def _written_over(self) -> list[Made]:
        """The newest used entry, or the one before it, written anew with another length."""
        back = self.one_of((1, 1, 2))
        made: list[Made] = [
            {"act": "jump", "by": 0x1_0000 - back},
            {"act": "again", "back": 0, "len": self.one_of((13, 26, 60, 100, 4096, 4097))},
        ]
        return made if back == 1 else [*made, {"act": "jump", "by": 1}]

    def _complete(self) -> Made:
        return {
            "act": "complete",
            "id": self.random.randrange(2 * self.config.ring_size),
            "len": self.one_of(_TOTALS),
        }

    def _jump(self) -> Made:
        size = self.config.ring_size
        return {"act": "jump", "by": self.one_of((1, 1, 2, size, size + 1, 0x8000, 0xFFFF, 0xFFFE))}

    def _rewrite(self) -> Made:
        back = self.one_of((0, 0, 1, 2))
        if self.chance(0.5):
            return {"act": "rewrite", "back": back, **self._header_bytes()}
        at = self.one_of((12, 16, 60, 140, 141, 1000, 4095, 4096, 9000))
        return {"act": "rewrite", "back": back, "at": at, "bytes": "a5" * self.one_of((1, 2, 64))}

    def _stray(self) -> Made:
        chain = self.random.randrange(8)
        return {
            "act": "stray",
            "chain": chain,
            "at": self.one_of((0, 12, 4000)),
            "bytes": "5a" * 40,
        }

    def _scribble(self) -> Made:
        size = self.config.ring_size
        if self.chance(0.3):
            at = 2 * self.random.randrange(size + 3)
            return {"act": "scribble", "area": "avail", "at": at, "bytes": "ffff"}
        at = 16 * self.random.randrange(size) + self.one_of((0, 8, 12, 14))
        word = self.random.randrange(2 * size)
        data = self.one_of((f"{word:02x}00", "0000", "ffff", "0300", "0100", "00" * 16, "ff" * 16))
        return {"act": "scribble", "area": "desc", "at": at, "bytes": data}


_Make = Callable[[_Maker], list[Made] | Made]

_OPERATIONS: Final[tuple[tuple[_Make, int], ...]] = (
    (_Maker._poll, 30),
    (_Maker._device, 34),
    (_Maker._release, 12),
    (lambda _: {"op": "refill"}, 9),
    (_Maker._failure, 8),
    (_Maker._rare, 2),
    (_Maker._end, 3),
)

_FAULTS: Final[tuple[tuple[_Make, int], ...]] = (
    (_Maker._odd_header, 8),
    (_Maker._odd_length, 8),
    (_Maker._odd_count, 5),
    (_Maker._odd_id, 3),
    (_Maker._again, 2),
    (_Maker._written_over, 1),
    (_Maker._complete, 2),
    (_Maker._jump, 2),
    (_Maker._rewrite, 4),
    (_Maker._stray, 2),
    (_Maker._scribble, 6),
    (lambda maker: {"act": "event", "ahead": maker.random.randrange(0x1_0000)}, 2),
)

_MAKERS, _WEIGHTS = [make for make, _ in _OPERATIONS], [*accumulate(n for _, n in _OPERATIONS)]
_FAULT_MAKERS, _FAULT_WEIGHTS = [make for make, _ in _FAULTS], [*accumulate(n for _, n in _FAULTS)]

"""A scenario: a configuration and a list of operations, as data (docs/scenario.md)."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from vnet_rx.errors import ConfigError
from vnet_rx.testing import schema

VERSION: Final = 1
MAX_FILE: Final = 4 << 20
MAX_OPERATIONS: Final = 10_000

Operation = Mapping[str, Any]
"""One operation in normal form: every field there, bytes as ``bytes``, lists as tuples."""

_TOP: Final[dict[str, schema.Field]] = {
    "vnet_rx_scenario": schema.Whole(VERSION, VERSION),
    "note": schema.Text(10_000, ""),
    "seed": schema.Whole(0, 2**64 - 1, 0),
    "config": schema.Record(schema.CONFIG),
    "operations": schema.Several(schema.OPERATION, MAX_OPERATIONS),
    "expect": schema.Several(schema.Whole(0, 0xFFFF_FFFF), MAX_OPERATIONS, None),
}

# Feature bits of the standard, 5.1.3 and 6.
GUEST_CSUM: Final = 1 << 1
MRG_RXBUF: Final = 1 << 15
EVENT_IDX: Final = 1 << 29
VERSION_1: Final = 1 << 32
_LARGE: Final = sum(1 << bit for bit in (7, 8, 9, 10, 54, 55))


@dataclass(frozen=True, slots=True)
class Config:
    """What queue a scenario is about. Raises ``ConfigError`` for one that cannot be."""

    mode: str
    strategy: str
    dialect: str
    pages: int
    ring_size: int = 64
    event_idx: bool = True
    max_frags: int = 18
    max_incomplete_polls: int = 16
    first_index: int = 0
    features: int | None = None

    def __post_init__(self) -> None:
        schema.check_fields(self.fields(), schema.CONFIG, "config")
        if self.descriptors_per_buffer > self.ring_size:
            raise schema.wrong(
                "config.ring_size", self.ring_size,
                f"one buffer of {self.mode} mode takes {self.descriptors_per_buffer} descriptors",
            )  # fmt: skip
        if self.pages_per_buffer > self.pages:
            raise schema.wrong(
                "config.pages", self.pages,
                f"one buffer of {self.mode} mode takes {self.pages_per_buffer} pages",
            )  # fmt: skip
        if self.features is not None:
            bits = self.features
            mode = "mergeable" if bits & MRG_RXBUF else "big" if bits & _LARGE else "small"
            dialect = "modern" if bits & VERSION_1 else "legacy"
            said = (self.mode, self.dialect, self.event_idx)
            if (mode, dialect, bool(bits & EVENT_IDX)) != said or bits >> 34 & 1:
                raise schema.wrong(
                    "config.features", bits,
                    "the bits must agree with mode, dialect and event_idx, RING_PACKED (34) not "
                    "set",
                )  # fmt: skip

    def fields(self) -> dict[str, Any]:
        """All fields by name."""
        return {name: getattr(self, name) for name in schema.CONFIG}

    @property
    def feature_bits(self) -> int:
        """The negotiated features."""
        if self.features is not None:
            return self.features
        bits = GUEST_CSUM
        bits |= EVENT_IDX if self.event_idx else 0
        bits |= _LARGE if self.mode != "small" else 0
        bits |= MRG_RXBUF if self.mode == "mergeable" else 0
        bits |= VERSION_1 if self.dialect == "modern" else 0
        return bits

    @property
    def header_len(self) -> int:
        """Bytes of the virtio-net header (RECEIVE.md, section 1)."""
        return 12 if self.dialect == "modern" or self.mode == "mergeable" else 10

    @property
    def descriptors_per_buffer(self) -> int:
        """Descriptors of one buffer (RECEIVE.md, section 3)."""
        if self.mode == "mergeable":
            return 1
        legacy = int(self.dialect == "legacy")
        return 1 + legacy if self.mode == "small" else self.max_frags + 1 + legacy

    @property
    def pages_per_buffer(self) -> int:
        """Pages of one buffer, a linear part included (RECEIVE.md, section 3)."""
        return self.max_frags + 1 if self.mode == "big" else 1

    def __str__(self) -> str:
        text = (
            f"{self.mode}, {self.strategy}, {self.dialect}, ring of {self.ring_size}, "
            f"{self.pages} pages, {'EVENT_IDX' if self.event_idx else 'flags'}"
        )
        rest = {"max_frags": 18, "max_incomplete_polls": 16, "first_index": 0, "features": None}
        changed = [f"{k} {getattr(self, k)}" for k, v in rest.items() if getattr(self, k) != v]
        return ", ".join([text, *changed])


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a driver, a device and the memory do; raises ``ConfigError`` naming a wrong field."""

    config: Config
    operations: tuple[Operation, ...]
    seed: int = 0
    note: str = ""
    expect: tuple[int, ...] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, config: Config, operations: Iterable[Mapping[str, Any]], seed: int = 0) -> Self:
        """A scenario of operations written by hand; defaults may be left out."""
        items = [
            schema.OPERATION.check(one, f"operations[{i}]") for i, one in enumerate(operations)
        ]
        return cls(config, tuple(items), seed)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads a scenario. Raises ``ConfigError`` naming the field that is wrong."""
        size = len(text.encode(errors="surrogatepass")) if isinstance(text, str) else len(text)
        if size > MAX_FILE:
            raise ConfigError(f"a scenario of {size} bytes is too long: at most {MAX_FILE}")
        try:
            # What json makes of bytes depends on how they begin; a scenario is UTF-8.
            whole = text if isinstance(text, str) else text.decode()
            raw = json.loads(whole, object_pairs_hook=_unique, parse_int=_whole)
        except RecursionError:
            raise ConfigError("the scenario is nested too deeply to be one") from None
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"the scenario is not JSON: {error}") from None
        if not isinstance(raw, dict) or "vnet_rx_scenario" not in raw:
            raise ConfigError("this is not a scenario: vnet_rx_scenario is missing")
        top = schema.check_fields(raw, _TOP, "")
        operations, expect = top["operations"], top["expect"]
        if expect is not None and len(expect) != len(operations):
            raise ConfigError(
                f"expect has {len(expect)} numbers for {len(operations)} operations: give one each"
            )
        return cls(Config(**top["config"]), operations, top["seed"], top["note"], expect)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a scenario from a file. Raises ``ConfigError`` naming file and field."""
        try:
            with Path(path).open("rb") as file:
                return cls.from_json(file.read(MAX_FILE + 1))
        except (ConfigError, OSError) as error:
            raise ConfigError(
                f"{os.fspath(path)}: {getattr(error, 'strerror', None) or error}"
            ) from None

    def to_json(self, indent: int | None = None) -> str:
        """The scenario as JSON, defaults left out; with ``indent`` an operation a line."""
        head: dict[str, Any] = {"vnet_rx_scenario": VERSION}
        if self.note:
            head["note"] = self.note
        if self.seed:
            head["seed"] = self.seed
        head["config"] = schema.plain(self.config.fields(), schema.CONFIG)
        items = [schema.plain_operation(one) for one in self.operations]
        tail = {} if self.expect is None else {"expect": list(self.expect)}
        if indent is None:
            return json.dumps({**head, "operations": items, **tail})
        pad = " " * indent
        lines = [f"{pad}{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        listed = f",\n{pad}{pad}".join(json.dumps(item) for item in items)
        lines.append(f'{pad}"operations": [\n{pad}{pad}{listed}\n{pad}]')
        lines += [f"{pad}{json.dumps(key)}: {json.dumps(value)}" for key, value in tail.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the scenario to a file, an operation a line."""
        Path(path).write_text(self.to_json(indent=1))

    def with_operations(self, operations: Iterable[Operation]) -> Self:
        """The same scenario with other operations, and nothing expected of them."""
        return replace(self, operations=tuple(operations), expect=None)


def _whole(digits: str) -> int | float:
    """A number without a fraction; -0 is none that a field can hold, as in Rust."""
    return int(digits) if digits != "-0" else -0.0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two values for one key, which would count?"""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ConfigError(f"the key {twice[:60]!r} stands twice in one object")
    return found

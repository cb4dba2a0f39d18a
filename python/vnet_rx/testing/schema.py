"""What a scenario may say: every operation and every device action with its fields, as tables.

Reading, writing, generating and shrinking scenarios all follow these tables (docs/scenario.md). A
value that has passed ``check`` is in normal form: every field is there, ready to be used.
"""

import string
from collections.abc import Mapping
from typing import Any, Final, Protocol

from vnet_rx.errors import ConfigError

MODES: Final = ("small", "big", "mergeable")
STRATEGIES: Final = ("eager", "deferred")
DIALECTS: Final = ("legacy", "modern")
POINTS: Final = ("used_idx_read", "header_copied", "before_rearm", "after_rearm")

MAX_ACTIONS: Final = 64
MAX_PLACES: Final = 16
MAX_BYTES: Final = 8192

REQUIRED: Final = object()
"""The default of a field that has none."""


class Field(Protocol):
    """One field: its default, and how a value is checked."""

    @property
    def default(self) -> object:
        """The value where none is given, or ``REQUIRED``."""

    def check(self, value: object, where: str) -> Any:
        """The value in normal form; raises ``ConfigError`` naming ``where``."""


def wrong(where: str, value: object, wanted: str) -> ConfigError:
    """The error for a value that cannot be."""
    shown = repr(value)
    return ConfigError(f"{where}: {shown[:60]} is not possible: {wanted}")


# The classes below are Fields; what ``check`` does is said there.


class Whole:
    """A whole number from ``low`` to ``high``; null as well where that is the default."""

    def __init__(self, low: int, high: int, default: object = REQUIRED) -> None:
        self.low, self.high, self.default = low, high, default

    def check(self, value: object, where: str) -> int | None:
        if value is None and self.default is None:
            return None
        # A bool is an int to Python, but not to JSON.
        if type(value) is not int or not self.low <= value <= self.high:
            raise wrong(where, value, f"choose {self.low} to {self.high}")
        return value


class PowerOfTwo(Whole):
    """A power of two from ``low`` to ``high``."""

    def check(self, value: object, where: str) -> int | None:
        if type(value) is not int or value & (value - 1) or not self.low <= value <= self.high:
            raise wrong(where, value, f"choose a power of two from {self.low} to {self.high}")
        return value


class Flag:
    """True or false."""

    def __init__(self, default: object = REQUIRED) -> None:
        self.default = default

    def check(self, value: object, where: str) -> bool:
        if type(value) is not bool:
            raise wrong(where, value, "choose true or false")
        return value


class Choice:
    """One of some words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.default = REQUIRED

    def check(self, value: object, where: str) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise wrong(where, value, f"choose one of {', '.join(self.words)}")
        return value


class Text:
    """Text of at most ``most`` characters."""

    def __init__(self, most: int, default: object = REQUIRED) -> None:
        self.most, self.default = most, default

    def check(self, value: object, where: str) -> str:
        if not isinstance(value, str) or len(value) > self.most:
            raise wrong(where, value, f"give text of at most {self.most} characters")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise wrong(where, value, "half of a surrogate pair is no character")
        return value


class Hex:
    """Bytes, two hexadecimal digits each; kept as ``bytes``."""

    default = REQUIRED

    def check(self, value: object, where: str) -> bytes:
        if isinstance(value, bytes) and len(value) <= MAX_BYTES:
            return value
        wanted = f"give an even number of hexadecimal digits, {2 * MAX_BYTES} at most"
        if not isinstance(value, str) or len(value) > 2 * MAX_BYTES or len(value) % 2:
            raise wrong(where, value, wanted)
        if not set(value) <= set(string.hexdigits):
            raise wrong(where, value, wanted)
        return bytes.fromhex(value)


class Several:
    """A list of at most ``most`` values of one kind."""

    def __init__(self, item: Field, most: int, default: object = REQUIRED) -> None:
        self.item, self.most, self.default = item, most, default

    def check(self, value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > self.most:
            raise wrong(where, value, f"give a list of at most {self.most}")
        return tuple(self.item.check(one, f"{where}[{i}]") for i, one in enumerate(value))


class Row:
    """A list of exactly these values."""

    def __init__(self, *items: Field, default: object = REQUIRED) -> None:
        self.items, self.default = items, default

    def check(self, value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(self.items):
            raise wrong(where, value, f"give a list of {len(self.items)}")
        pairs = enumerate(zip(self.items, value, strict=True))
        return tuple(item.check(one, f"{where}[{i}]") for i, (item, one) in pairs)


class Record:
    """An object with these fields and no others."""

    default = REQUIRED

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = dict(fields)

    def check(self, value: object, where: str) -> dict[str, Any]:
        return check_fields(value, self.fields, where)


class Named:
    """An object that one of its fields names: an operation, an action."""

    default = REQUIRED

    def __init__(self, tag: str, kinds: Mapping[str, Mapping[str, Field]]) -> None:
        self.tag, self.kinds = tag, kinds
        self._name = Choice(*kinds)

    def check(self, value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong(where, value, f"give an object with a field {self.tag!r}")
        if self.tag not in value:
            raise ConfigError(f"{where}.{self.tag} is missing")
        name = self._name.check(value[self.tag], f"{where}.{self.tag}")
        rest = {key: one for key, one in value.items() if key != self.tag}
        return {self.tag: name, **check_fields(rest, self.kinds[name], where)}


def check_fields(value: object, fields: Mapping[str, Field], where: str) -> dict[str, Any]:
    """An object's fields in normal form, defaults filled in."""
    if not isinstance(value, dict):
        raise wrong(where, value, "give an object")

    def at(key: str) -> str:
        return f"{where}.{key}" if where else key

    for key in value:
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise ConfigError(f"{at(str(key)[:60])} is not a field: the fields are {known}")
    checked = {}
    for key, field in fields.items():
        if key in value:
            checked[key] = field.check(value[key], at(key))
        elif field.default is REQUIRED:
            raise ConfigError(f"{at(key)} is missing")
        else:
            checked[key] = field.default
    return checked


_U8, _U16 = Whole(0, 0xFF), Whole(0, 0xFFFF)
_U32 = Whole(0, 0xFFFF_FFFF)
_BACK = Whole(0, 63)
_WITHIN = Whole(0, 80_000)


def _overrides() -> Several:
    return Several(Row(Whole(0, 63), _U32), 64, ())


HEADER: Final = Row(_U8, _U8, _U16, _U16, _U16, _U16, default=(0, 0, 0, 0, 0, 0))
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset."""

ACTIONS: Final[dict[str, dict[str, Field]]] = {
    "send": {
        "size": Whole(0, 70_000),
        "seed": Whole(0, 255, 0),
        "header": HEADER,
        "num_buffers": Whole(0, 0xFFFF, None),
        "buffers": Whole(1, 64, None),
        "fill": Several(Whole(0, 80_000), 64, ()),
        "len": _overrides(),
        "id": _overrides(),
        "id_add": _overrides(),
        "hold": Whole(0, 64, 0),
    },
    "publish": {"count": Whole(0, 64, 64)},
    "complete": {"id": _U32, "len": _U32},
    "again": {"back": _BACK, "len": Whole(0, 0xFFFF_FFFF, None)},
    "jump": {"by": Whole(1, 0xFFFF)},
    "rewrite": {"back": _BACK, "at": _WITHIN, "bytes": Hex()},
    "stray": {"chain": Whole(0, 1023), "at": _WITHIN, "bytes": Hex()},
    "scribble": {"area": Choice("desc", "avail"), "at": _U16, "bytes": Hex()},
    "flags": {"value": _U16},
    "event": {"ahead": _U16},
}
"""Every device action with its fields."""

ACTION: Final = Named("act", ACTIONS)
_DO: Final = Several(ACTION, MAX_ACTIONS)
_PLACE: Final = Record({"point": Choice(*POINTS), "pass": Whole(1, 64), "do": _DO})

OPERATIONS: Final[dict[str, dict[str, Field]]] = {
    "refill": {},
    "poll": {"budget": Whole(1, 0xFFFF), "at": Several(_PLACE, MAX_PLACES, ())},
    "release": {"packet": _U16},
    "release_all": {},
    "fail_pages": {"skip": _U16, "count": _U16},
    "fail_skbs": {"skip": _U16, "count": _U16},
    "watchdog": {},
    "disconnect": {},
    "stop": {},
    "detach": {},
    "reset": {},
    "close": {},
    "device": {"do": _DO},
}
"""Every operation with its fields."""

OPERATION: Final = Named("op", OPERATIONS)

CONFIG: Final[dict[str, Field]] = {
    "mode": Choice(*MODES),
    "strategy": Choice(*STRATEGIES),
    "dialect": Choice(*DIALECTS),
    "ring_size": PowerOfTwo(2, 1024, 64),
    "event_idx": Flag(True),
    "max_frags": Whole(1, 45, 18),
    "max_incomplete_polls": Whole(1, 1000, 16),
    "first_index": Whole(0, 0xFFFF, 0),
    "pages": Whole(1, 4096),
    "features": Whole(0, 2**64 - 1, None),
}
"""The fields of a configuration."""


def plain(value: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Checked fields as they are written: defaults left out, bytes as hexadecimal digits."""
    out: dict[str, Any] = {}
    for key, field in fields.items():
        one = value[key]
        if one != field.default:
            out[key] = one if type(one) is int else _plain_value(one)
    return out


def _plain_value(value: object) -> object:
    if isinstance(value, (tuple, list)):
        return [one if type(one) is int else _plain_value(one) for one in value]
    if isinstance(value, dict):
        if "act" in value:
            return {"act": value["act"], **plain(value, ACTIONS[value["act"]])}
        return {key: _plain_value(one) for key, one in value.items()}
    return value.hex() if isinstance(value, bytes) else value


_DEFAULTS: Final = {
    name: {key: field.default for key, field in fields.items() if field.default is not REQUIRED}
    for kinds in (ACTIONS, OPERATIONS)
    for name, fields in kinds.items()
}


def filled(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """An operation or action that is right, in normal form: what ``check`` would make of it."""
    out = {**_DEFAULTS[kind], **value}
    for key, one in value.items():
        if type(one) is list:
            out[key] = tuple(map(_filled_item, one))
        elif key == "bytes":
            out[key] = bytes.fromhex(one)
    return out


def _filled_item(item: Any) -> Any:
    if type(item) is list:
        return tuple(item)
    if type(item) is not dict:
        return item
    return filled(item["act"], item) if "act" in item else filled_place(item)


def filled_place(item: Mapping[str, Any]) -> dict[str, Any]:
    """A place in a poll in normal form."""
    return {**item, "do": tuple(map(_filled_item, item["do"]))}


def plain_operation(operation: Mapping[str, Any]) -> dict[str, Any]:
    """A checked operation as it is written."""
    return {"op": operation["op"], **plain(operation, OPERATIONS[operation["op"]])}

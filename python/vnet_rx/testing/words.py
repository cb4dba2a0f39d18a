"""Operations and observations in words, for readers who have never seen a scenario."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from vnet_rx.testing.driver import COUNTERS, FAULTS

_HEADER: Final = ("flags", "gso_type", "hdr_len", "gso_size", "csum_start", "csum_offset")
_PACKET: Final = ("length", "CRC-32", "header", "head_len", "linear", "frags", "truesize")


def _send(act: Mapping[str, Any]) -> str:
    text = f"sends a packet of {act['size']} bytes"
    if act["buffers"]:
        text += f" over {act['buffers']} buffers"
    notes = [
        f"{name} {value:#x}" if name in ("flags", "gso_type") else f"{name} {value}"
        for name, value in zip(_HEADER, act["header"], strict=True)
        if value
    ]
    if act["num_buffers"] is not None:
        notes.append(f"num_buffers {act['num_buffers']}")
    if act["seed"]:
        notes.append(f"payload number {act['seed']}")
    notes += [f"only {room} bytes into buffer {k}" for k, room in enumerate(act["fill"])]
    notes += [f"buffer {k}'s used length is {value}" for k, value in act["len"]]
    notes += [f"buffer {k}'s used id is {value:#x}" for k, value in act["id"]]
    notes += [f"buffer {k}'s used id is its own + {value:#x}" for k, value in act["id_add"]]
    if act["hold"]:
        notes.append(f"the last {act['hold']} completions held back")
    return text + (f" ({', '.join(notes)})" if notes else "")


def _bytes(act: Mapping[str, Any]) -> str:
    data = act["bytes"]
    shown = data[:16].hex()
    return f"{shown}{'...' if len(data) > 16 else ''} at byte {act['at']}"


_ACTS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "send": _send,
    "publish": lambda act: f"writes {act['count']} of the completions it held back",
    "complete": lambda act: f"completes id {act['id']:#x} with length {act['len']}",
    "again": lambda act: (
        f"completes the chain it completed {_ago(act['back'])} once more"
        + ("" if act["len"] is None else f", with length {act['len']}")
    ),
    "jump": lambda act: f"moves used.idx on by {act['by']} without an entry",
    "rewrite": lambda act: (
        f"writes {_bytes(act)} of the buffer that it completed {_ago(act['back'])}"
    ),
    "stray": lambda act: (
        f"writes {_bytes(act)} of waiting buffer {act['chain']}, not completing it"
    ),
    "scribble": lambda act: f"writes {_bytes(act)} of the {_AREAS[act['area']]}",
    "flags": lambda act: f"sets used.flags to {act['value']:#x}",
    "event": lambda act: f"sets avail_event to avail.idx + {act['ahead']}",
}
_AREAS: Final[dict[str, str]] = {"desc": "descriptor table", "avail": "avail ring"}


def _ago(back: int) -> str:
    return "last" if not back else f"{back} before the last"


def action(act: Mapping[str, Any]) -> str:
    """What the device does."""
    return _ACTS[act["act"]](act)


def operation(op: Mapping[str, Any]) -> Iterator[str]:
    """What an operation does: a line, and a further line for each thing the device does in it."""
    name = op["op"]
    if name == "device":
        for act in op["do"]:
            yield f"the device {action(act)}"
        if not op["do"]:
            yield "the device looks at the avail ring"
    elif name == "poll":
        yield f"the driver polls for at most {op['budget']} packets"
        for place in op["at"]:
            for act in place["do"]:
                passage = "" if place["pass"] == 1 else f" (passage {place['pass']})"
                yield f"  at {place['point']}{passage} the device {action(act)}"
    elif name in ("fail_pages", "fail_skbs"):
        what = "page" if name == "fail_pages" else "skb"
        yield f"{what} allocations: {op['skip']} more succeed, then {op['count']} fail"
    elif name == "release":
        yield f"the user releases held packet number {op['packet']} (mod the number held)"
    else:
        yield _PLAIN[name]


_PLAIN: Final = {
    "refill": "the driver refills",
    "release_all": "the user releases all packets",
    "watchdog": "the watchdog looks",
    "disconnect": "the device is declared gone",
    "stop": "the device is declared stopped",
    "detach": "the driver detaches one unused buffer",
    "reset": "queue and device are reset",
    "close": "the queue is closed",
}


def listing(operations: Sequence[Mapping[str, Any]]) -> str:
    """Numbered lines, one or more an operation."""
    lines = []
    for number, op in enumerate(operations, 1):
        for i, text in enumerate(operation(op)):
            lines.append(f"{number if not i else '':>5}  {text}")
    return "\n".join(lines)


def difference(field: str, left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two values of one field differ: what, left, right, as closely as can be named."""
    if field == "counters" and left and right:
        for name, a, b in zip(COUNTERS + FAULTS, left, right, strict=True):
            if a != b:
                yield name, a, b
    elif field == "packets" and len(left) == len(right):
        for number, (a, b) in enumerate(zip(left, right, strict=True)):
            for name, x, y in zip(_PACKET, a, b, strict=False):
                if x != y:
                    yield f"packet {number}, {name}", x, y
    elif field == "packets":
        yield "packets delivered", len(left), len(right)
    elif field in ("posted", "published", "pool", "points") and left and right:
        for number, (a, b) in enumerate(zip(left, right, strict=False)):
            if a != b:
                yield f"{field}[{number}]", a, b
                return
        yield f"length of {field}", len(left), len(right)
    else:
        yield field, left, right

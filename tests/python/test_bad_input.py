"""Bad input gets a typed error that names the value and what would be valid."""

import threading
from pathlib import Path
from typing import Any

import pytest

import vnet_rx
from vnet_rx import ConfigError, RxConfig


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ring_size": 0}, "ring size 0 .* power of two from 2 to 32768"),
        ({"ring_size": 3}, "ring size 3 "),
        ({"ring_size": 65536}, "ring size 65536 "),
        ({"ring_size": -1}, "ring_size -1 "),
        ({"ring_size": 2**40}, "ring_size 1099511627776 "),
        ({"mode": "big", "ring_size": 16}, "ring of 16 .* 19 descriptors, so choose at least 32"),
        ({"mode": "huge"}, 'mode "huge": choose one of small, big, mergeable'),
        ({"strategy": "lazy"}, "choose one of eager, deferred"),
        ({"dialect": "klingon"}, "choose one of legacy, modern"),
        ({"max_frags": 0}, "max_frags 0 .* 1 to 45"),
        ({"max_frags": 46}, "max_frags 46 "),
        ({"max_incomplete_polls": 0}, "max_incomplete_polls 0 "),
        ({"incomplete_timeout": 0.0}, "incomplete_timeout 0 "),
        ({"incomplete_timeout": -1.0}, "incomplete_timeout -1"),
        ({"incomplete_timeout": float("nan")}, "incomplete_timeout NaN"),
        ({"first_index": 65536}, "first_index 65536 .* 0 to 65535"),
        ({"features": 1 << 15}, "features 0x8000 select mergeable mode in the legacy dialect"),
        ({"features": 1 << 32 | 1 << 15 | 1 << 34}, "RING_PACKED"),
    ],
)
def test_configurations(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        RxConfig(**settings)
    assert isinstance(caught.value, ValueError) and caught.value.code == "config"


def test_arenas() -> None:
    for pages in (0, -1, 2**40, 2**70):
        with pytest.raises((ConfigError, OverflowError), match=r"arena|pages|memory|int"):
            vnet_rx.PageArena(pages)
    with pytest.raises(ConfigError, match=r"arena of 18 pages .* one buffer takes 19"):
        vnet_rx.RxQueue(RxConfig(mode="big"), vnet_rx.PageArena(18))


def test_budgets() -> None:
    rx = vnet_rx.RxQueue()
    for budget in (0, -1):
        with pytest.raises(ConfigError, match=f"budget {budget} "):
            rx.poll(budget)
    assert rx.stats().polls == 0


def test_frames() -> None:
    rx = vnet_rx.RxQueue(RxConfig(mode="small"))
    rx.refill()
    host = vnet_rx.Host.of(rx)
    for length, says in (
        (65_590, "65590 bytes is longer than the 65589"),
        (13, "13 bytes is shorter than an Ethernet header, 14"),
        (1519, "1519 bytes does not fit: .* hold 1518"),
    ):
        with pytest.raises(vnet_rx.Undeliverable, match=says):
            host.offer(bytes(length))
    with pytest.raises(vnet_rx.Undeliverable, match="GUEST_TSO4"):
        host.offer(bytes(100), vnet_rx.VnetHeader(gso_type=1))
    assert host.undeliverable == 4 and rx.poll() == []
    with pytest.raises(TypeError, match="not str"):
        vnet_rx.Frames(["text"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="11 bytes"):
        vnet_rx.VnetHeader.from_bytes(bytes(11))


def test_generators() -> None:
    for sizes, says in ((13, "13 is not"), ((100, 50), "from 100 to 50"), ([], "at least one")):
        with pytest.raises(ConfigError, match=says):
            vnet_rx.Generator(sizes)


def test_captures(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pcap"
    with pytest.raises(vnet_rx.CaptureError, match=r"absent\.pcap"):
        vnet_rx.Capture(absent)
    for content, says in ((b"", "empty"), (b"PK\3\4 something else", "not a capture")):
        absent.write_bytes(content)
        with pytest.raises(vnet_rx.CaptureError, match=says):
            vnet_rx.open(f"pcap:{absent}")


def test_devices() -> None:
    for device in ("", "pcap", "floppy:a", "tap"):
        with pytest.raises(ConfigError, match=r"choose one of pcap:\.\.\., sim:\.\.\."):
            vnet_rx.open(device)
    for spec in ("sim:size=x", "sim:colour=red", "sim:size=5"):
        with pytest.raises(ConfigError):
            vnet_rx.open(spec)


def test_a_second_thread_in_the_same_queue_is_told() -> None:
    rx = vnet_rx.RxQueue()
    rx.refill()
    vnet_rx.Host.of(rx).offer(bytes(60))
    raised: list[Exception] = []

    def intrude() -> None:
        for call in (rx.poll, rx.refill, rx.stats, rx.close):
            try:
                call()
            except Exception as error:
                raised.append(error)

    def hook(point: str) -> None:
        if point == "header_copied":
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()

    assert len(rx.poll(8, hook)) == 1
    assert [type(error) for error in raised] == [vnet_rx.BusyError] * 4
    assert "one thread at a time" in str(raised[0])

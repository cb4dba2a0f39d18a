"""Host to queue, every configuration, arbitrary frames and budgets."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

import vnet_rx

from .conftest import EVERY, config_of, conserved

frames = st.lists(
    st.tuples(
        st.one_of(
            st.binary(min_size=14, max_size=200),
            st.integers(14, 65_589).map(lambda n: bytes(i * 7 & 0xFF for i in range(n))),
        ),
        st.integers(1, 30),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(kind=st.sampled_from(EVERY), sent=frames, first_index=st.sampled_from([0, 65_530]))
def test_what_goes_in_comes_out(
    kind: tuple[str, str, str, bool], sent: list[tuple[bytes, int]], first_index: int
) -> None:
    config = config_of(*kind)
    config = vnet_rx.RxConfig(
        mode=config.mode,
        strategy=config.strategy,
        dialect=config.dialect,
        event_idx=config.event_idx,
        ring_size=64,
        first_index=first_index,
    )
    with vnet_rx.RxQueue(config) as rx:
        rx.refill()
        host = vnet_rx.Host.of(rx)
        under_way: deque[tuple[bytes, int]] = deque()
        held: list[vnet_rx.Packet] = []

        def receive(budget: int) -> int:
            packets = rx.poll(budget)
            assert len(packets) <= budget
            for packet in packets:
                frame, buffers = under_way.popleft()
                assert bytes(packet) == frame == packet.data == b"".join(packet.segments)
                assert packet.header == vnet_rx.VnetHeader(num_buffers=buffers)
            held.extend(packets)
            conserved(rx, held)
            del held[:-5]
            return len(packets)

        for frame, budget in sent:
            try:
                while not (buffers := host.offer(frame)):
                    assert receive(budget)
                under_way.append((frame, buffers))
            except vnet_rx.Undeliverable as error:
                assert config.mode == "small" and len(frame) > 1518, error
            if budget % 3 == 0:
                receive(budget)
        while under_way:
            assert receive(7)
        stats = rx.stats()
        assert stats.rx_packets == host.delivered
        assert not any(stats.faults.values())
        if config.strategy == "deferred" and config.mode != "small":
            assert stats.skb_allocs == stats.rx_packets
        held.clear()
        arena = rx.arena
    assert arena.free == arena.pages

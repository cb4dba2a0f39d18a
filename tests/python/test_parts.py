"""The parts by hand: memory, arena, pool, ring, queue."""

import gc
import os

import pytest

import vnet_rx
from vnet_rx import PageArena, PagePool, Vring


def test_pages_come_and_go() -> None:
    arena = PageArena(3)
    pages = [arena.alloc_page() for _ in range(3)]
    assert [page.number for page in pages] == [0, 1, 2]
    with pytest.raises(vnet_rx.OutOfPages, match="0 of 3"):
        arena.alloc_page()
    arena.put_page(pages[1])
    with pytest.raises(vnet_rx.ClosedError, match="page 1 was given back"):
        arena.put_page(pages[1])
    del pages
    gc.collect()
    assert arena.free == 3, "a page that nobody holds goes back by itself"


def test_the_pool_is_last_in_first_out() -> None:
    arena = PageArena(8)
    pool = PagePool(arena)
    first = [arena.alloc_page() for _ in range(3)]
    pool.give_pages(first)
    pool.give_pages([arena.alloc_page(), arena.alloc_page()])
    assert pool.pages == [3, 4, 0, 1, 2]
    assert pool.get_a_page().number == 3
    with pytest.raises(vnet_rx.ClosedError):
        pool.give_pages([arena.alloc_page(), first[0]])
    with pytest.raises(vnet_rx.ConfigError, match="another arena"):
        pool.give_pages([PageArena(1).alloc_page()])
    gc.collect()
    assert arena.free + len(pool) == 8


def test_memory_is_checked() -> None:
    memory = PageArena(1).memory
    base = memory.GUEST_BASE
    memory.store32(base, 0x01020304)
    assert memory.load16(base) == 0x0304
    assert memory.read(base, 4) == b"\x04\x03\x02\x01"
    for addr in (0, base - 1, base + 1, base + len(memory), 2**64 - 2):
        with pytest.raises(vnet_rx.OutOfRange, match=hex(addr)):
            memory.load16(addr)
    with pytest.raises(vnet_rx.OutOfRange):
        memory.read(base, 2**60)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fileno(), 0)


@pytest.mark.parametrize("event_idx", [False, True])
def test_a_ring_by_hand(event_idx: bool) -> None:
    arena = PageArena(8)
    ring = Vring(arena, 4, event_idx=event_idx, first_index=65_534)
    pages = [arena.alloc_page() for _ in range(4)]
    features = 1 << 32 | 1 << 15 | (1 << 29 if event_idx else 0)
    host = vnet_rx.Host(ring.memory, ring.layout, features)
    for turn in range(5):
        for page in pages:
            assert ring.add([(page.address, 4096)], page) is not None
        assert ring.num_free == 0
        with pytest.raises(vnet_rx.RingFull, match="0 descriptors are free"):
            ring.add([(pages[0].address, 4096)], None)
        assert ring.get_buf() is None
        assert ring.publish() is (turn == 0 or not event_idx)
        for i in range(4):
            assert host.offer(bytes([turn, i]) * 50) == 1
        for i, page in enumerate(pages):
            token, length = ring.get_buf() or (None, 0)
            assert token is page and length == 112
            assert memory_of(arena, page, 12, 100) == bytes([turn, i]) * 50
        assert ring.enable_cb()
    ring.add([(pages[0].address, 100), (pages[1].address, 100)], "left")
    with pytest.raises(vnet_rx.RingRunning):
        ring.detach_unused_buf()
    ring.stop()
    assert ring.detach_unused_buf() == "left"
    assert ring.detach_unused_buf() is None
    with pytest.raises(vnet_rx.ClosedError):
        ring.add([(pages[0].address, 4096)], None)


def memory_of(arena: PageArena, page: vnet_rx.Page, offset: int, length: int) -> bytes:
    return arena.memory.read(page.address + offset, length)


def test_a_ring_refuses_nonsense() -> None:
    arena = PageArena(1)
    for size in (0, 1, 3, 65536, -1, 2**40):
        with pytest.raises(vnet_rx.ConfigError, match=str(size)):
            Vring(arena, size)
    ring = Vring(arena, 2)
    with pytest.raises(vnet_rx.ConfigError, match="at least one segment"):
        ring.add([], None)
    with pytest.raises(vnet_rx.OutOfRange):
        ring.add([(1, 10)], None)
    ring.add([(arena.address_of(0), 10)], None)
    ring.publish()
    memory, used = ring.memory, ring.layout.used
    memory.store32(used + 4, 7)
    memory.store16(used + 2, 1)
    with pytest.raises(vnet_rx.QueueBroken, match="BadUsedId") as caught:
        ring.get_buf()
    assert (caught.value.fault, caught.value.code) == ("BadUsedId", "queue_broken")


def test_a_lying_device_breaks_the_queue_until_it_is_reset(queue: vnet_rx.RxQueue) -> None:
    memory, used = queue.memory, queue.layout.used
    memory.store16(used + 2, 1000)
    assert queue.poll() == []
    assert queue.broken == "IndexJump"
    for refused in (queue.poll, queue.refill):
        with pytest.raises(vnet_rx.QueueBroken, match="IndexJump"):
            refused()
    queue.reset()
    queue.refill()
    assert queue.broken is None
    assert vnet_rx.Host.of(queue).offer(bytes(60)) == 1
    assert len(queue.poll()) == 1


def test_out_of_memory_is_reported_and_retried(queue: vnet_rx.RxQueue) -> None:
    host = vnet_rx.Host.of(queue)
    packets = []
    queue.arena.fail_allocs(0, 2**60)
    for _ in range(1000):
        if host.offer(bytes(1000)) == 0:
            break
        packets += queue.poll()
    if queue.config.mode == "big":
        # A big buffer returns most of its pages; this one is out only once the pool is.
        assert packets
    assert queue.refill_needed
    packets.clear()
    queue.arena.fail_allocs(0, 0)
    queue.poll()
    assert not queue.refill_needed
    assert queue.num == queue.max


def test_a_hook_sees_the_points_and_loses_no_packet(queue: vnet_rx.RxQueue) -> None:
    host = vnet_rx.Host.of(queue)
    points: list[str] = []
    host.offer(bytes(60))
    assert len(queue.poll(8, points.append)) == 1
    assert points == ["used_idx_read", "header_copied", "before_rearm", "after_rearm"]
    host.offer(bytes(61))

    def fail(point: str) -> None:
        raise RuntimeError(point)

    with pytest.raises(RuntimeError, match="used_idx_read"):
        queue.poll(8, fail)
    assert [len(packet) for packet in queue.poll()] == [61]


def test_use_after_close(queue: vnet_rx.RxQueue) -> None:
    queue.close()
    for refused in (queue.poll, queue.refill, queue.reset, queue.stop, queue.watchdog):
        with pytest.raises(vnet_rx.ClosedError, match="closed"):
            refused()
    with pytest.raises(vnet_rx.ClosedError):
        _ = queue.num
    queue.close()
    assert queue.closed and queue.stats().rx_packets == 0


def test_stats_tell_everything() -> None:
    stats = vnet_rx.RxQueue().stats()
    assert set(stats.as_dict()) >= {"rx_packets", "skb_allocs", "pool_gets", "faults"}
    assert len(stats.faults) == 14
    assert stats == vnet_rx.RxQueue().stats()

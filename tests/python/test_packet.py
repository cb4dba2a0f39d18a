"""What a packet's bytes look like, who may hold on to them, and where its pages go."""

import gc
import threading

import pytest

import vnet_rx


def receive(rx: vnet_rx.RxQueue, frame: bytes) -> vnet_rx.Packet:
    assert vnet_rx.Host.of(rx).offer(frame)
    (packet,) = rx.poll(1)
    return packet


@pytest.fixture
def rx() -> vnet_rx.RxQueue:
    queue = vnet_rx.RxQueue(vnet_rx.RxConfig(ring_size=64))
    queue.refill()
    return queue


FRAME = bytes(range(256)) * 40


def test_views_are_read_only_and_show_every_byte(rx: vnet_rx.RxQueue) -> None:
    packet = receive(rx, FRAME)
    assert len(packet) == len(FRAME)
    assert bytes(packet) == FRAME
    assert packet.data == FRAME and packet.data.readonly
    assert [view.nbytes for view in packet.segments] == [128, 3956, 4096, 2060]
    assert b"".join(packet.segments) == FRAME
    assert all(view.readonly for view in packet.segments)
    assert memoryview(packet) == FRAME
    assert packet.head_len == 128
    assert [(offset, length) for _, offset, length in packet.frags] == [
        (140, 3956),
        (0, 4096),
        (0, 2060),
    ]
    assert packet.truesize == 128 + 3 * 4096


def test_a_view_pins_the_packet(rx: vnet_rx.RxQueue) -> None:
    packet = receive(rx, FRAME)
    free = rx.arena.free
    views = [packet.data, *packet.segments]
    for _ in range(len(views)):
        with pytest.raises(BufferError, match="views of the packet live"):
            packet.release()
        with pytest.raises(BufferError):
            packet.make_private()
        views.pop().release()
    packet.release()
    assert rx.arena.free == free + 3
    packet.release()
    for use in (lambda: bytes(packet), lambda: packet.data, lambda: packet.header, packet.__len__):
        with pytest.raises(vnet_rx.ClosedError, match="released"):
            use()
    assert repr(packet) == "<Packet, released>"


def test_a_view_outlives_its_packet_object_and_its_queue(rx: vnet_rx.RxQueue) -> None:
    packet = receive(rx, FRAME)
    arena, views = rx.arena, packet.segments
    rx.close()
    del packet, rx
    gc.collect()
    assert b"".join(views) == FRAME
    assert arena.free == arena.pages - 3
    del views
    gc.collect()
    assert arena.free == arena.pages


def test_private_bytes_cost_no_page(rx: vnet_rx.RxQueue) -> None:
    packet = receive(rx, FRAME)
    header, free = packet.header, rx.arena.free
    packet.make_private()
    assert packet.is_private and rx.arena.free == free + 3
    assert bytes(packet) == FRAME == packet.data
    assert packet.header == header and packet.frags == [] and len(packet.segments) == 1


def test_dropped_in_another_thread(queue: vnet_rx.RxQueue) -> None:
    packets = [receive(queue, bytes(1000)) for _ in range(3)]
    free = queue.arena.free
    thread = threading.Thread(target=packets.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert queue.arena.free == free + 3


def test_small_segments_are_one(queue: vnet_rx.RxQueue) -> None:
    packet = receive(queue, bytes(range(60)))
    assert [bytes(view) for view in packet.segments] == [bytes(range(60))]
    assert packet.data.tobytes() == bytes(range(60))

"""A small driver that has nothing to do with this project, and how the kit finds the bug in it.

vnet-rx fuzz --driver examples.third_party_driver:make --mode small --dialect modern
pytest examples/third_party_driver.py
"""

from struct import pack, unpack

from vnet_rx.errors import QueueBroken
from vnet_rx.reference import RingLayout, SharedMemory, VnetHeader  # any memory and header will do
from vnet_rx.testing.conformance import RxConformance

BUFFER = 12 + 1518


class Packet:
    def __init__(self, data):
        flags, gso, _, gso_size, start, offset, _ = unpack("<BBHHHHH", data[:12])
        self.header = VnetHeader(flags & 3, gso, 0, gso_size, start, offset, 1)
        self.data = data[12:]

    def __bytes__(self):
        return self.data


class TinyDriver:
    checks_length = False  # Here is the bug: whatever length the device says is believed.

    def __init__(self, config):
        size, base = config.ring_size, SharedMemory.GUEST_BASE
        self.memory = SharedMemory(0x40000 + 2048 * size)
        self.layout = RingLayout(size, base, base + 0x10000, base + 0x20000)
        self.buffers, self.csum = base + 0x40000, config.feature_bits & 2
        self.start(config.first_index)

    def start(self, index):
        self.avail = self.used = index
        self.free, self.posted, self.fault = list(range(self.layout.size)), set(), None
        for word in (self.layout.avail + 2, self.layout.used + 2):
            self.memory.store16(word, index)

    def reset(self):
        self.start(0)

    def close(self):
        self.posted.clear()

    def refill(self):
        if self.fault:
            raise QueueBroken(self.fault)
        count = len(self.free)
        for at in self.free:
            desc = pack("<QIHH", self.buffers + 2048 * at, BUFFER, 2, 0)
            self.memory.write(self.layout.desc + 16 * at, desc)
            self.memory.store16(self.layout.avail + 4 + self.avail % self.layout.size * 2, at)
            self.avail = (self.avail + 1) % 65536
        self.posted.update(self.free)
        self.free.clear()
        self.memory.store16(self.layout.avail + 2, self.avail)
        return count

    def poll(self, budget):
        if self.fault:
            raise QueueBroken(self.fault)
        packets, seen = [], self.memory.load16(self.layout.used + 2)
        if (seen - self.used) % 65536 > len(self.posted):
            self.fault = "IndexJump"
        while self.used != seen and budget and not self.fault:
            at = self.layout.used + 4 + self.used % self.layout.size * 8
            head, length = unpack("<II", self.memory.read(at, 8))
            if head not in self.posted:
                self.fault = "BadUsedId"
                break
            budget, self.used = budget - 1, (self.used + 1) % 65536
            self.posted.remove(head)
            self.free.append(head)
            if length < 26 or (self.checks_length and length > BUFFER):
                continue
            packet = Packet(self.memory.read(self.buffers + 2048 * head, min(length, 2048)))
            if self.is_good(packet.header, len(packet.data)):
                packets.append(packet)
        return packets

    def is_good(self, header, length):
        if header.flags & 1 and not (
            self.csum and header.csum_start + header.csum_offset + 2 <= length
        ):
            return False
        return header.gso_type == 0


make = TinyDriver


class TestTinyDriver(RxConformance):
    modes, dialects, event_idx, random_cases = ("small",), ("modern",), (False,), 100

    def make_driver(self, config):
        return TinyDriver(config)

"""A vhost-user back end that follows a script, on a real socket: honest but for what it is told."""

import array
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import vnet_rx

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL = 12, 13
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18

NAMES = {
    number: name
    for name, number in list(globals().items())
    if name.startswith(("GET_", "SET_")) and isinstance(number, int)
}
VERSION, REPLY, NEED_REPLY = 1, 4, 8
MQ, REPLY_ACK = 1, 8
PROTOCOL_FEATURES = 1 << 30
OFFERED = (
    PROTOCOL_FEATURES
    | vnet_rx.RxConfig(mode="mergeable").features & ~(0b11 << 54)  # no USO, like DPDK
    | 1 << 34  # a packed ring, which is not taken
)

Fault = Callable[["Peer", int, bytes], None]
"""Called with the message that came in place of an honest answer."""


class Peer(threading.Thread):
    """Serves one connection after the other until it is stopped.

    ``faults`` maps the position of a message in a connection (0 is the first) to what to do instead
    of answering it.
    """

    def __init__(
        self,
        path: Path,
        *,
        offered: int = OFFERED,
        protocol: int = MQ | REPLY_ACK,
        queues: int = 1,
        faults: dict[int, Fault] | None = None,
        connect: bool = False,
    ) -> None:
        super().__init__(daemon=True)
        self.path, self.offered, self.protocol, self.queues = path, offered, protocol, queues
        self.faults = faults or {}
        self.connect = connect
        self.log: list[str] = []
        self.features = 0
        self.memory: mmap.mmap | None = None
        self.memory_fd = -1
        self.rings: dict[int, dict[str, int]] = {}
        self.lines: dict[tuple[str, int], int] = {}
        self.ready = threading.Event()
        self.released = threading.Event()
        self.ended = threading.Event()
        if not connect:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.listener.listen()

    def __enter__(self) -> "Peer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        if not self.connect:
            self.listener.shutdown(socket.SHUT_RDWR)
        self.join(20)
        assert not self.is_alive()

    def run(self) -> None:
        while True:
            if self.connect:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(str(self.path))
            else:
                try:
                    self.socket, _ = self.listener.accept()
                except OSError:
                    self.listener.close()
                    return
            self.ended.clear()
            self.serve()
            if self.connect:
                return

    def serve(self) -> None:
        """One connection."""
        self.log = []
        try:
            while self.message():
                pass
        except OSError:
            pass
        self.release()
        self.ended.set()

    def hang_up(self) -> None:
        """End the connection as a process that is killed does."""
        self.released.set()
        if hasattr(self, "socket"):
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def release(self) -> None:
        self.socket.close()
        if self.memory is not None:
            self.memory.close()
        for fd in [*self.lines.values(), self.memory_fd]:
            if fd >= 0:
                os.close(fd)
        self.memory, self.memory_fd = None, -1
        self.lines.clear()
        self.rings.clear()

    def message(self) -> bool:
        """Take one message and answer it."""
        data, fds, _, _ = socket.recv_fds(self.socket, 12, 8)
        if len(data) < 12:
            return False
        request, flags, size = struct.unpack("<III", data)
        body = self.socket.recv(size, socket.MSG_WAITALL) if size else b""
        at = len(self.log)
        self.log.append(NAMES.get(request, str(request)))
        value = self.obey(request, body, fds)
        if at in self.faults:
            self.faults[at](self, request, body)
        elif value is not None:
            self.answer(request, value)
        elif flags & NEED_REPLY:
            self.answer(request, struct.pack("<Q", 0))
        return True

    def answer(
        self,
        request: int,
        body: bytes,
        flags: int = VERSION | REPLY,
        size: int | None = None,
        fds: int = 0,
    ) -> None:
        """Send an answer, with ``fds`` descriptors that do not belong there."""
        data = struct.pack("<III", request, flags, len(body) if size is None else size) + body
        copies = [os.dup(0) for _ in range(fds)]
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", copies))]
        self.socket.sendmsg([data], ancillary if fds else [])
        for fd in copies:
            os.close(fd)

    def obey(self, request: int, body: bytes, fds: list[int]) -> bytes | None:
        """Do what a message asks for; the answer, if it asks for one."""
        if request == GET_FEATURES:
            return struct.pack("<Q", self.offered)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", self.protocol)
        if request == GET_QUEUE_NUM:
            return struct.pack("<Q", self.queues)
        if request == SET_FEATURES:
            (self.features,) = struct.unpack("<Q", body)
        elif request == SET_MEM_TABLE:
            count, _, _, size, user, _ = struct.unpack("<IIQQQQ", body)
            assert count == 1
            (self.memory_fd,) = fds
            self.memory = mmap.mmap(self.memory_fd, size)
            self.base = user
        elif request == SET_VRING_ADDR:
            index, _, desc, used, avail, _ = struct.unpack("<IIQQQQ", body)
            ring = self.rings.setdefault(index, {})
            ring |= {"desc": desc - self.base, "used": used - self.base, "avail": avail - self.base}
        elif request in (SET_VRING_KICK, SET_VRING_CALL):
            (self.lines[NAMES[request][-4:], body[0]],) = fds
        elif request in (SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE):
            index, value = struct.unpack("<II", body)
            self.rings.setdefault(index, {})[NAMES[request][10:].lower()] = value
            if request == SET_VRING_ENABLE and index == 1 and value:
                self.ready.set()
        elif request == GET_VRING_BASE:
            index, _ = struct.unpack("<II", body)
            return struct.pack("<II", index, self.word(self.rings[index]["avail"] + 2))
        return None

    def word(self, at: int) -> int:
        assert self.memory is not None
        return int.from_bytes(self.memory[at : at + 2], "little")

    def deliver(self, frame: bytes, buffers: int = 1) -> None:
        """Write a frame into the next receive buffer and notify. ``buffers`` is what the header
        says; only one is completed."""
        assert self.memory is not None
        ring = self.rings[0]
        used = self.word(ring["used"] + 2)
        head = self.word(ring["avail"] + 4 + 2 * (used % ring["num"]))
        (addr,) = struct.unpack_from("<Q", self.memory, ring["desc"] + 16 * head)
        at = addr - vnet_rx.SharedMemory.GUEST_BASE
        packet = struct.pack("<10xH", buffers) + frame
        self.memory[at : at + len(packet)] = packet
        entry = ring["used"] + 4 + 8 * (used % ring["num"])
        struct.pack_into("<II", self.memory, entry, head, len(packet))
        struct.pack_into("<H", self.memory, ring["used"] + 2, (used + 1) % 65536)
        os.eventfd_write(self.lines["CALL", 0], 1)

    def sent(self) -> list[bytes]:
        """Take the frames that the driver has sent since the last call."""
        assert self.memory is not None
        ring, frames = self.rings[1], []
        while (used := self.word(ring["used"] + 2)) != self.word(ring["avail"] + 2):
            head = self.word(ring["avail"] + 4 + 2 * (used % ring["num"]))
            desc = struct.unpack_from("<QIHH", self.memory, ring["desc"] + 16 * head)
            assert desc[2] == 0, "one descriptor, for the device to read"
            at = desc[0] - vnet_rx.SharedMemory.GUEST_BASE
            frames.append(bytes(self.memory[at + 12 : at + desc[1]]))
            struct.pack_into(
                "<II", self.memory, ring["used"] + 4 + 8 * (used % ring["num"]), head, 0
            )
            struct.pack_into("<H", self.memory, ring["used"] + 2, (used + 1) % 65536)
        return frames

"""DPDK's testpmd as a vhost-user device (or as a driver), controlled by its own commands."""

import contextlib
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

PROGRAM = "dpdk-testpmd"
NR_HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")


class TestpmdError(Exception):
    """testpmd did not do what it was asked for; with the end of its output."""

    __test__ = False


@contextlib.contextmanager
def huge_pages(count: int = 512) -> Iterator[str]:
    """Huge pages of 2 MiB set aside and mounted: the folder. Undone afterwards; needs root."""
    before = NR_HUGE_PAGES.read_text()
    with tempfile.TemporaryDirectory(prefix="huge-") as folder:
        NR_HUGE_PAGES.write_text(f"{max(count, int(before))}\n")
        try:
            if int(NR_HUGE_PAGES.read_text()) < count:
                raise TestpmdError(f"{count} huge pages are not to be had: too little free memory")
            subprocess.run(["mount", "-t", "hugetlbfs", "none", folder], check=True)
            try:
                yield folder
            finally:
                subprocess.run(["umount", folder], check=True)
        finally:
            NR_HUGE_PAGES.write_text(before)


class Testpmd:
    """A testpmd process in interactive mode with one port, ``--vdev VDEV``.

    Needs no huge pages, no PCI device and, for a socket, no root, unless ``hugepages`` names a
    mounted hugetlbfs. Its two threads share the machine's processors.
    """

    __test__ = False

    def __init__(
        self,
        vdev: str,
        *,
        forward: str = "txonly",
        hugepages: str | None = None,
        eal: tuple[str, ...] = (),
        cores: str | None = None,
    ) -> None:
        self._runtime = tempfile.TemporaryDirectory(prefix="testpmd-")
        self._prefix = Path(self._runtime.name).name
        cores = cores or f"(0,1)@({','.join(map(str, sorted(os.sched_getaffinity(0))))})"
        memory = ["--huge-dir", hugepages] if hugepages else ["--no-huge"]
        command = [
            *("stdbuf", "-oL", PROGRAM, "--lcores", cores, "--no-pci", *memory, "-m", "256"),
            *("--file-prefix", self._prefix, "--no-telemetry", "--vdev", vdev, *eal),
            *("--", "-i", "--no-mlockall", "--no-flush-rx", "--total-num-mbufs=8192"),
            f"--forward-mode={forward}",
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"RUNTIME_DIRECTORY": self._runtime.name},
        )
        self._output: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.expect("Checking link statuses", 0, timeout=60)
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._more:
                self._output.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    @property
    def output(self) -> str:
        """Everything it has printed so far."""
        with self._more:
            return "".join(self._output)

    def expect(self, pattern: str, since: int, timeout: float = 30.0) -> re.Match[str]:
        """Wait until ``pattern`` is printed behind position ``since`` of the output."""
        until = time.monotonic() + timeout
        with self._more:
            while True:
                text = "".join(self._output)
                if match := re.compile(pattern, re.DOTALL).search(text, since):
                    return match
                left = until - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise TestpmdError(f"testpmd did not print {pattern!r}:\n{text[-2000:]}")
                self._more.wait(min(left, 0.5))

    def say(self, command: str) -> int:
        """Give it a command; the position in its output from which the answer comes."""
        assert self.process.stdin
        since = len(self.output)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return since

    def start(self, txpkts: str | None = None) -> None:
        """Forward packets from now on; ``txpkts`` is the lengths of their segments."""
        if txpkts is not None:
            self.say(f"set txpkts {txpkts}")
        since = self.say("start")
        self.expect("packet forwarding - ports=1", since)

    def stop(self) -> dict[str, int]:
        """Stop forwarding; the packets that went in each direction, and those that did not."""
        since = self.say("stop")
        block = self.expect(r"Forward statistics for port 0.*?-{70,}.*?Done\.", since)[0]
        found = re.findall(r"([RT]X)-(packets|dropped): (\d+)", block.split("Accumulated")[0])
        return {f"{way.lower()}_{what}": int(count) for way, what, count in found}

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, and remove what it leaves behind."""
        if self.process.poll() is None:
            try:
                self.say("quit")
                self.process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                self.kill()
        self._reader.join(20)
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                try:
                    stream.close()
                except OSError:
                    continue
        self._runtime.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def vhost_port(path: Path, *, client: bool = False) -> str:
    """A ``--vdev``: a vhost-user device that listens at ``path``, or connects to it."""
    return f"net_vhost0,iface={path}{',client=1' if client else ''}"

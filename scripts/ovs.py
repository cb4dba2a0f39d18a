"""Open vSwitch with its DPDK data path and vhost-user ports, from files in a temporary folder."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Self

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
TOOLS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "unshare", VSWITCHD)
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
# One data path thread, 4 KiB pages, and packet buffers by the thousand rather than the quarter
# million. Without --legacy-mem it would ask for --in-memory, which needs huge pages.
SETTINGS = (
    "other_config:dpdk-init=true",
    "other_config:per-port-memory=true",
    "other_config:dpdk-extra=--no-huge --legacy-mem --no-pci --no-telemetry -m 256",
)


class OvsError(Exception):
    """Open vSwitch did not do what it was asked for; with the end of its log."""


class Switch:
    """A learning switch with one port for each of ``sockets``, to which it connects.

    Needs no root, but user namespaces: the switch makes a network interface for itself. One of its
    threads uses a whole processor.
    """

    def __init__(self, *sockets: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ovs-")
        self.folder = Path(self._folder.name)
        self._db = f"unix:{self.folder}/db.sock"
        folders = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "RUNTIME_DIRECTORY")
        self._env = os.environ | dict.fromkeys(folders, str(self.folder))
        self._server: subprocess.Popen[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self._run("ovsdb-tool", "create", f"{self.folder}/conf.db", SCHEMA)
            remote = f"--remote=p{self._db}"
            self._server = self._spawn("ovsdb-server", f"{self.folder}/conf.db", remote)
            self.vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".", *SETTINGS)
            self.start()
            self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
            for k, path in enumerate(sockets):
                self.vsctl(
                    *("add-port", "br0", f"port{k}", "--", "set", "Interface", f"port{k}"),
                    *("type=dpdkvhostuserclient", f"options:vhost-server-path={path}"),
                )
        except BaseException:
            self.close()
            raise

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self._env, stdin=quiet, stdout=quiet, stderr=quiet)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=90)
        if done.returncode:
            raise OvsError(f"{' '.join(command)}: {done.stderr}{self.log()[-2000:]}")
        return done.stdout

    def vsctl(self, *command: str) -> str:
        """Change or ask for the configuration."""
        return self._run("ovs-vsctl", f"--db={self._db}", "--retry", "--timeout=60", *command)

    def start(self) -> None:
        """Start the switch itself, with the ports that are configured."""
        log = f"--log-file={self.folder}/vswitchd.log"
        self.process = self._spawn("unshare", "-rn", VSWITCHD, self._db, log, "-vconsole:off")

    def kill(self) -> None:
        """End the switch as a crash does (SIGKILL)."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def statistics(self, port: int) -> dict[str, int]:
        """What the switch had counted on a port when it last said so, which it does every 5 s."""
        text = self.vsctl("get", "Interface", f"port{port}", "statistics")
        items = (item.split("=") for item in text.strip(" {}\n").split(", ") if "=" in item)
        return {name: int(value) for name, value in items}

    def log(self) -> str:
        """The switch's log so far."""
        try:
            return (self.folder / "vswitchd.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """End the switch and remove its files."""
        for process in (self.process, self._server):
            if process:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

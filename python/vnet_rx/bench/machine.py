"""What a result was measured on: without that it is not a result."""

import platform
import subprocess
from datetime import date
from pathlib import Path

_VERSIONS = {
    "rustc": ["rustc", "--version"],
    "valgrind": ["valgrind", "--version"],
    "dpdk": ["pkg-config", "--modversion", "libdpdk"],
}


def describe(*tools: str) -> dict[str, str]:
    """Processor, caches, kernel, the versions of ``tools`` and today's date.

    Known tools: ``rustc``, ``valgrind``, ``dpdk``; one that is not installed is ``not found``.
    """
    described = {
        "processor": processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "date": date.today().isoformat(),
    }
    return described | {tool: _version(tool) for tool in tools}


def processor() -> str:
    """The processor's name and family, the number of cores, and the caches of the first."""
    fields: dict[str, str] = {}
    cores = 0
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
        cores += name.strip() == "processor"
    name = fields.get("model name") or platform.machine()
    family = [fields[key] for key in ("cpu family", "model") if key in fields]
    numbers = f" (family {', model '.join(family)})" if len(family) == 2 else ""
    shown = [f"{name}{numbers}", f"{cores} cores", *_caches()]
    if "hypervisor" in fields.get("flags", "").split():
        shown.append("virtual machine")
    return ", ".join(shown)


def _caches() -> list[str]:
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(str(index / part)) for part in ("level", "type", "size"))
        if kind != "Instruction" and size:
            caches.append(f"L{level} {size}")
    return caches


def _version(tool: str) -> str:
    try:
        done = subprocess.run(_VERSIONS[tool], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

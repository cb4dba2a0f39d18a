"""Differential testing of receive paths: scenarios, a device that can be hostile, a fuzzer.

Two implementations run the same scenario and are compared after every operation (RECEIVE.md,
section 11; the format is in ``docs/scenario.md``, a guide in ``docs/testing.md`` of the source
tree). Your own driver takes part through a small class, see ``RxDriver``; nothing here needs the
native module but ``Engine`` and ``NativeEngine``.
"""

from vnet_rx.testing.campaign import Budget, Finding, Report, fuzz
from vnet_rx.testing.compare import Divergence, diff
from vnet_rx.testing.device import Device, pattern
from vnet_rx.testing.driver import (
    DriverError,
    Engine,
    EngineDriver,
    Factory,
    NativeEngine,
    Reference,
    RxDriver,
    load,
)
from vnet_rx.testing.generate import Limits, case_seed, generate
from vnet_rx.testing.memory import Layout, RingMemory
from vnet_rx.testing.minimize import minimize
from vnet_rx.testing.mutants import Hunt, hunt
from vnet_rx.testing.observe import Observation
from vnet_rx.testing.replay import Replayed, replay
from vnet_rx.testing.run import Run, Trace, run
from vnet_rx.testing.scenario import Config, Operation, Scenario

__all__ = [
    "Budget",
    "Config",
    "Device",
    "Divergence",
    "DriverError",
    "Engine",
    "EngineDriver",
    "Factory",
    "Finding",
    "Hunt",
    "Layout",
    "Limits",
    "NativeEngine",
    "Observation",
    "Operation",
    "Reference",
    "Replayed",
    "Report",
    "RingMemory",
    "Run",
    "RxDriver",
    "Scenario",
    "Trace",
    "case_seed",
    "diff",
    "fuzz",
    "generate",
    "hunt",
    "load",
    "minimize",
    "pattern",
    "replay",
    "run",
]

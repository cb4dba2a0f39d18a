"""The pytest plugin: one option, which names the driver that ``RxConformance`` tests.

Every run of pytest where the package is installed loads it, so it stands apart from
``vnet_rx.testing`` and imports nothing.
"""

from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Declare ``--rx-driver``."""
    parser.getgroup("vnet-rx").addoption(
        "--rx-driver",
        metavar="PACKAGE.MODULE:FACTORY",
        help="the driver that vnet_rx.testing.conformance tests (or set VNET_RX_DRIVER)",
    )

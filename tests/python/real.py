"""Tests that need something real: a tool, a permission, a device of this machine."""

import functools
import os
import shutil
from typing import NoReturn

import pytest

from station import Station, StationError


def unavailable(reason: str) -> NoReturn:
    """Skip the test for this reason (one line), or fail it where VNET_RX_REQUIRE_REAL=1 is set."""
    if os.environ.get("VNET_RX_REQUIRE_REAL") == "1":
        pytest.fail(f"VNET_RX_REQUIRE_REAL is set, but {reason}")
    pytest.skip(reason)


def need_tools(*tools: str) -> None:
    """Go on only if these programs are installed."""
    for tool in tools:
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")


def need_tap() -> None:
    """Go on only if TAPs can be made, in a network namespace of their own."""
    reason = _why_no_tap()
    if reason:
        unavailable(reason)


@functools.cache
def _why_no_tap() -> str:
    try:
        Station().close()
    except StationError as error:
        return str(error)
    return ""

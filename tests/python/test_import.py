"""What can be had without the native module, and what is said where it is needed."""

import subprocess
import sys

import vnet_rx

WITHOUT_CORE = """
import sys
sys.modules["vnet_rx._core"] = None
import vnet_rx, vnet_rx.errors
assert vnet_rx.ConfigError is vnet_rx.errors.ConfigError
try:
    vnet_rx.RxQueue
except ImportError as error:
    assert "vnet_rx.RxQueue needs the native module" in str(error), error
else:
    raise AssertionError("no error")
"""


KIT = """
import sys
for name in ("vnet_rx._core", "hypothesis", "pytest", "_pytest"):
    sys.modules[name] = None
import vnet_rx.pytest_plugin
assert not any(name.startswith(("vnet_rx.testing", "vnet_rx.ref")) for name in sys.modules)
from vnet_rx.testing import Budget, fuzz
assert fuzz("reference", "reference", budget=Budget(cases=5)).cases == 5
"""


def test_the_kit_needs_neither_native_module_nor_pytest_nor_hypothesis() -> None:
    subprocess.run([sys.executable, "-c", KIT], check=True)


def test_the_package_imports_without_the_native_module() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_CORE], check=True)


def test_every_public_name_exists_and_is_documented() -> None:
    for name in vnet_rx.__all__:
        assert getattr(vnet_rx, name).__doc__, name
    assert set(vnet_rx.__all__) <= set(dir(vnet_rx))


def test_errors_have_codes_of_their_own() -> None:
    classes = [value for value in map(vars(vnet_rx.errors).get, dir(vnet_rx.errors))
               if isinstance(value, type) and issubclass(value, vnet_rx.VnetRxError)]  # fmt: skip
    codes = [error.code for error in classes]
    assert len(set(codes)) == len(codes) > 10

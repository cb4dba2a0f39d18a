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

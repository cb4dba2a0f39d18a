//! Rust errors as the classes of `vnet_rx.errors`.

use std::sync::{Mutex, MutexGuard, TryLockError};

use pyo3::prelude::*;

use crate::device::source::TapError;
use crate::device::{HostError, TapHostError, Undeliverable as Refused};
use crate::memory::{MemoryError, OutOfRange as Outside};
use crate::receive::{ConfigError as Config, DeviceFault, RxError};
use crate::replay::ReplayError;
use crate::ring::split::LayoutError;
use crate::scenario::ScenarioError;
use crate::vhost_user::{SendError, VhostUserError};
use crate::virtio::UnknownName;

pyo3::import_exception!(vnet_rx.errors, BusyError);
pyo3::import_exception!(vnet_rx.errors, CaptureError);
pyo3::import_exception!(vnet_rx.errors, ClosedError);
pyo3::import_exception!(vnet_rx.errors, ConfigError);
pyo3::import_exception!(vnet_rx.errors, DeviceError);
pyo3::import_exception!(vnet_rx.errors, DeviceTimeout);
pyo3::import_exception!(vnet_rx.errors, DriverFault);
pyo3::import_exception!(vnet_rx.errors, OutOfPages);
pyo3::import_exception!(vnet_rx.errors, OutOfRange);
pyo3::import_exception!(vnet_rx.errors, ProtocolError);
pyo3::import_exception!(vnet_rx.errors, QueueBroken);
pyo3::import_exception!(vnet_rx.errors, RingFull);
pyo3::import_exception!(vnet_rx.errors, RingRunning);
pyo3::import_exception!(vnet_rx.errors, Undeliverable);

/// Converts an error of the crate into its Python class. (`From` cannot be implemented for both.)
pub(super) trait IntoPyErr {
    fn into_py_err(self) -> PyErr;
}

/// `?` for results of the crate.
pub(super) trait OrRaise<T> {
    fn or_raise(self) -> PyResult<T>;
}

impl<T, E: IntoPyErr> OrRaise<T> for Result<T, E> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(IntoPyErr::into_py_err)
    }
}

macro_rules! by_text {
    ($($error:ty => $class:ident),* $(,)?) => {
        $(impl IntoPyErr for $error {
            fn into_py_err(self) -> PyErr {
                $class::new_err(self.to_string())
            }
        })*
    };
}

by_text! {
    Config => ConfigError,
    LayoutError => ConfigError,
    MemoryError => ConfigError,
    ScenarioError => ConfigError,
    UnknownName => ConfigError,
    Outside => OutOfRange,
    Refused => Undeliverable,
}

impl IntoPyErr for RxError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Broken(fault) => QueueBroken::new_err(fault.name()),
            Self::Stopped | Self::Closed => ClosedError::new_err(self.to_string()),
            Self::ZeroBudget => ConfigError::new_err(self.to_string()),
            Self::Running => RingRunning::new_err(self.to_string()),
        }
    }
}

impl IntoPyErr for HostError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Layout(error) => error.into_py_err(),
            Self::Driver(fault) => DriverFault::new_err(fault.to_string()),
        }
    }
}

impl IntoPyErr for TapError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Name(_) | Self::NotATapFile(_) => ConfigError::new_err(self.to_string()),
            _ => DeviceError::new_err(self.to_string()),
        }
    }
}

impl IntoPyErr for TapHostError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Host(error) => error.into_py_err(),
            Self::Tap(error) => error.into_py_err(),
        }
    }
}

impl IntoPyErr for ReplayError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Config(error) => error.into_py_err(),
            Self::Queue(error) => error.into_py_err(),
            Self::Host(error) => error.into_py_err(),
            Self::Broken(fault) => QueueBroken::new_err(fault.name()),
            Self::Stuck(_) => OutOfPages::new_err(self.to_string()),
        }
    }
}

impl IntoPyErr for VhostUserError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Config(error) => error.into_py_err(),
            Self::Mode { .. } | Self::PathTooLong(_) => ConfigError::new_err(self.to_string()),
            Self::NoConnection { .. } | Self::Silent { .. } => {
                DeviceTimeout::new_err(self.to_string())
            }
            Self::Closed(_)
            | Self::Rejected(_)
            | Self::Garbled(_)
            | Self::Lacks(_)
            | Self::QueueCount(_) => ProtocolError::new_err(self.to_string()),
            Self::Gone => ClosedError::new_err(self.to_string()),
            Self::NotFound(_)
            | Self::NotASocket(_)
            | Self::Refused(_)
            | Self::Permission(_)
            | Self::InUse(_)
            | Self::System { .. } => DeviceError::new_err(self.to_string()),
        }
    }
}

impl IntoPyErr for SendError {
    fn into_py_err(self) -> PyErr {
        match self {
            Self::Length(_) => ConfigError::new_err(self.to_string()),
            Self::Full => RingFull::new_err(self.to_string()),
            Self::Broken(fault) => QueueBroken::new_err(DeviceFault::from(fault).name()),
        }
    }
}

/// Locks an object for one call; a second user is told so instead of waiting.
pub(super) fn exclusive<'a, T>(mutex: &'a Mutex<T>, what: &str) -> PyResult<MutexGuard<'a, T>> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        // A panic elsewhere left the object in a state that is still memory-safe.
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(BusyError::new_err(format!(
            "{what} is in use by another call: use it from one thread at a time"
        ))),
    }
}

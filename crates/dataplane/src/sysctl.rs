//! Kernel parameters under `/proc/sys/net`, as the calling thread's network namespace has them.

use std::path::PathBuf;
use std::{fs, io};

/// A parameter that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} sysctl {key}: {cause}")]
pub struct SysctlError {
    action: String,
    key: String,
    cause: io::Error,
}

impl SysctlError {
    /// Tells whether the parameter does not exist: its link is gone, or the kernel lacks the feature.
    pub fn is_missing(&self) -> bool {
        // an interface that goes away while its file is open reads as ENODEV or EINVAL
        self.cause.kind() == io::ErrorKind::NotFound || self.cause.raw_os_error() == Some(libc::ENODEV)
    }
}

/// Tells whether a write was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The value was another before.
    Changed,
    /// The value was right already.
    Unchanged,
}

/// Reads a parameter: `read("net/ipv4/ip_forward")`.
pub fn read(key: &str) -> Result<String, SysctlError> {
    let value = fs::read_to_string(path(key));
    value.map(|value| value.trim().to_owned()).map_err(|cause| SysctlError {
        action: "read".to_owned(),
        key: key.to_owned(),
        cause,
    })
}

/// Writes a parameter, unless it has the value already.
///
/// The kernel acts on some writes even when they change nothing: `ip_forward` resets every interface.
pub fn write(key: &str, value: &str) -> Result<Written, SysctlError> {
    if read(key)? == value {
        return Ok(Written::Unchanged);
    }
    fs::write(path(key), value).map(|()| Written::Changed).map_err(|cause| SysctlError {
        action: format!("write {value:?} to"),
        key: key.to_owned(),
        cause,
    })
}

/// Tells whether a parameter exists.
pub fn exists(key: &str) -> bool {
    path(key).exists()
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

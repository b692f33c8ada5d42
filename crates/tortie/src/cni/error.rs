//! The CNI error object and its codes.

use serde::Serialize;

/// Error codes: those below 100 are the CNI specification's, the others are what its Go library and Calico use.
///
/// | code | meaning |
/// |---|---|
/// | 1 | incompatible CNI version |
/// | 4 | invalid environment variables |
/// | 5 | standard input cannot be read |
/// | 6 | standard input is not JSON, or not a network configuration |
/// | 7 | invalid network configuration |
/// | 8 | the namespace is the plugin's own |
/// | 50 | STATUS: ADD cannot be served |
/// | 51 | STATUS: nor can it be, and existing containers may have limited connectivity |
/// | 100 | words that mean nothing, or the connection test failed |
/// | 999 | the operation failed |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const INCOMPATIBLE_VERSION: Code = Code(1);
    pub(crate) const INVALID_ENVIRONMENT: Code = Code(4);
    pub(crate) const IO: Code = Code(5);
    pub(crate) const DECODING: Code = Code(6);
    pub(crate) const INVALID_CONFIG: Code = Code(7);
    pub(crate) const INVALID_NETNS: Code = Code(8);
    pub(crate) const NOT_AVAILABLE: Code = Code(50);
    pub(crate) const LIMITED_CONNECTIVITY: Code = Code(51);
    pub(crate) const USAGE: Code = Code(100);
    pub(crate) const FAILED: Code = Code(999);
}

/// Why a call failed; printed on standard output as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CniError {
    pub(crate) code: u32,
    pub(crate) msg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) details: String,
}

impl CniError {
    pub(crate) fn new(code: Code, msg: impl Into<String>) -> Self {
        CniError { code: code.0, msg: msg.into(), details: String::new() }
    }

    /// An ordinary failure.
    pub(crate) fn failed(msg: impl Into<String>) -> Self {
        CniError::new(Code::FAILED, msg)
    }
}

//! What the runtime asks for: the environment variables of a CNI call.

use super::error::{CniError, Code};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A command of the CNI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) container_id: String,
    /// None only for DEL, when the namespace is gone already.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) ifname: String,
    pub(crate) args: BTreeMap<String, String>,
    /// CNI_ARGS as given, to hand on.
    pub(crate) raw_args: String,
    pub(crate) path: Vec<PathBuf>,
}

impl Call {
    /// Reads the variables; those that the command needs and are missing are named together.
    pub(crate) fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Call, CniError> {
        let value = |name: &str| env(name).unwrap_or_default();
        let word = value("CNI_COMMAND");
        let command = match word.as_str() {
            "ADD" => Command::Add,
            "DEL" => Command::Del,
            "CHECK" => Command::Check,
            "GC" => Command::Gc,
            "STATUS" => Command::Status,
            "VERSION" => Command::Version,
            _ => return Err(CniError::new(Code::INVALID_ENVIRONMENT, format!("unknown CNI_COMMAND: {word}"))),
        };
        let needed: &[&str] = match command {
            Command::Add | Command::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Command::Gc | Command::Status => &["CNI_PATH"],
            Command::Version => &[],
        };
        let missing: Vec<&str> = needed.iter().copied().filter(|name| value(name).is_empty()).collect();
        if !missing.is_empty() {
            let msg = format!("required env variables [{}] missing", missing.join(","));
            return Err(CniError::new(Code::INVALID_ENVIRONMENT, msg));
        }
        let raw_args = if command == Command::Version { String::new() } else { value("CNI_ARGS") };
        let call = Call {
            command,
            container_id: value("CNI_CONTAINERID"),
            netns: Some(value("CNI_NETNS")).filter(|path| !path.is_empty()).map(PathBuf::from),
            ifname: value("CNI_IFNAME"),
            args: parse_args(&raw_args)?,
            raw_args,
            path: std::env::split_paths(&value("CNI_PATH")).collect(),
        };
        if matches!(command, Command::Add | Command::Del | Command::Check) {
            call.validate()?;
        }
        Ok(call)
    }

    fn validate(&self) -> Result<(), CniError> {
        let invalid = |msg: String| Err(CniError::new(Code::INVALID_ENVIRONMENT, msg));
        let id = &self.container_id;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !id.starts_with(|c: char| c.is_ascii_alphanumeric()) || !id.chars().all(allowed) {
            return invalid(format!("invalid characters in containerID: {id:?}"));
        }
        let name = &self.ifname;
        if name.len() > 15 {
            return invalid(format!(
                "interface name is too long: interface name should be less than 16 characters: {name:?}"
            ));
        }
        if name == "." || name == ".." || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
            return invalid(format!("interface name contains / or : or whitespace characters: {name:?}"));
        }
        Ok(())
    }
}

/// Reads `KEY=VALUE;…`. Keys that mean nothing here are passed over, `IgnoreUnknown` or not, as in Calico.
fn parse_args(text: &str) -> Result<BTreeMap<String, String>, CniError> {
    let mut args = BTreeMap::new();
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(CniError::new(Code::INVALID_ENVIRONMENT, format!("CNI_ARGS: invalid pair {pair:?}")));
        };
        args.insert(key.to_owned(), value.to_owned());
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(pairs: &[(&str, &str)]) -> Result<Call, CniError> {
        Call::from_env(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn missing_variables_are_named() {
        let error =
            call(&[("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/x")]);
        assert_eq!(error, Err(CniError::new(Code(4), "required env variables [CNI_NETNS] missing")));
        let error = call(&[("CNI_COMMAND", "DEL")]);
        let msg = "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing";
        assert_eq!(error, Err(CniError::new(Code(4), msg)));
        assert_eq!(call(&[("CNI_COMMAND", "FOO")]), Err(CniError::new(Code(4), "unknown CNI_COMMAND: FOO")));
    }

    #[test]
    fn kubernetes_arguments() {
        let base = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/a:/b")];
        let args = ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns1;K8S_POD_NAME=my-pod");
        let call = call(&[base.as_slice(), &[args]].concat()).expect("a call");
        assert_eq!(call.args["K8S_POD_NAME"], "my-pod");
        assert_eq!(call.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(call.netns, None);
    }

    #[test]
    fn bad_values_are_explained() {
        for (name, value, expect) in [
            ("CNI_CONTAINERID", "a b", "invalid characters in containerID: \"a b\""),
            ("CNI_CONTAINERID", "-a", "invalid characters in containerID: \"-a\""),
            ("CNI_IFNAME", "a/b", "interface name contains / or : or whitespace characters: \"a/b\""),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S", "CNI_ARGS: invalid pair \"K8S\""),
        ] {
            let mut pairs = vec![("CNI_COMMAND", "DEL"), (name, value)];
            let rest = [("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/x")];
            pairs.extend(rest.into_iter().filter(|(other, _)| *other != name));
            assert_eq!(call(&pairs), Err(CniError::new(Code(4), expect)), "{name}={value}");
        }
    }
}

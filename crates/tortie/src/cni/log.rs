//! The plugin's log: lines in Calico's form, in the configured file; warnings and errors on standard error too.

use super::netconf::{LOG_ONLY, NetConf};
use jiff::tz::TimeZone;
use std::cell::OnceCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// An open log. Writing never fails the call.
pub(crate) struct Log {
    file: Option<File>,
    threshold: Level,
    container_id: String,
    zone: OnceCell<TimeZone>,
}

impl Log {
    /// Opens the file that the configuration names, making its folder.
    pub(crate) fn open(conf: &NetConf, container_id: &str) -> Log {
        let threshold = match conf.log_level.to_lowercase().as_str() {
            "debug" => Level::Debug,
            "error" => Level::Error,
            _ => Level::Info,
        };
        let path = Some(Path::new(&conf.log_file_path)).filter(|path| !path.as_os_str().is_empty());
        let file = path.and_then(|path| {
            let _ = path.parent().map(std::fs::create_dir_all);
            OpenOptions::new().create(true).append(true).open(path).ok()
        });
        let log = Log { file, threshold, container_id: container_id.to_owned(), zone: OnceCell::new() };
        for key in LOG_ONLY.iter().filter(|key| conf.other.contains_key(**key)) {
            log.write(Level::Warning, &format!("{key} is not acted on yet: the log file is not rotated"));
        }
        for key in conf.unheeded() {
            log.write(Level::Warning, &format!("{key} is not acted on; an address is asked for by IP= in CNI_ARGS"));
        }
        log
    }

    /// Writes one line.
    pub(crate) fn write(&self, level: Level, message: &str) {
        if level < self.threshold {
            return;
        }
        let zone = self.zone.get_or_init(local_zone).clone();
        let now = jiff::Timestamp::now().to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%.3f");
        let word = match level {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        };
        let pid = std::process::id();
        let line = format!("{now} [{word}][{pid}] cni-plugin: {message} ContainerID={:?}\n", self.container_id);
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
        if level >= Level::Warning {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }
}

/// The zone of the machine's clock, as TZ or /etc/localtime has it; UTC where neither does.
///
/// [`TimeZone::system`] wants the zone's name too, and for it lists all of /usr/share/zoneinfo, which takes as long as
/// making the pod's interface.
fn local_zone() -> TimeZone {
    match std::env::var_os("TZ") {
        Some(_) => TimeZone::system(),
        None => zone_of(&std::fs::read("/etc/localtime").unwrap_or_default()),
    }
}

/// Reads a zone's rules (RFC 8536).
fn zone_of(rules: &[u8]) -> TimeZone {
    TimeZone::tzif("Local", rules).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_without_a_name() {
        // RFC 8536 §3: header and data of version 1, the same of version 2, then the rule for all times
        let mut header = [0; 44];
        header[..5].copy_from_slice(b"TZif2");
        (header[39], header[43]) = (1, 1); // typecnt, charcnt
        let data = [0; 7]; // one local time type, and its empty designation
        let rules = [&header[..], &data, &header, &data, b"\n<+0545>-5:45\n"].concat();
        let text = |rules: &[u8]| jiff::Timestamp::UNIX_EPOCH.to_zoned(zone_of(rules)).strftime("%H:%M").to_string();
        assert_eq!(text(&rules), "05:45");
        assert_eq!(text(b"no rules"), "00:00");
    }
}

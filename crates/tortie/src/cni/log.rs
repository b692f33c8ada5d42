//! The plugin's log: lines in Calico's form, in the configured file; warnings and errors on standard error too.

use super::netconf::{LOG_ONLY, NetConf};
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
        let log = Log { file, threshold, container_id: container_id.to_owned() };
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
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f");
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

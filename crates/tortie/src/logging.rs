//! Where the long-running parts log: standard error, a line an event, UTC.

use tracing_subscriber::EnvFilter;

/// Starts logging at `level`, or as TORTIE_LOG says (`info,bgp=debug`).
pub fn init(level: &str) {
    let filter = EnvFilter::try_from_env("TORTIE_LOG").unwrap_or_else(|_| EnvFilter::new(level.to_lowercase()));
    let started = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // a second start in one process, as in tests, keeps the first
    let _ = started.try_init();
}

//! Liveness and readiness as Felix reports them (dataplane reference §3.10): every part says how it is, and one that
//! has been silent for longer than its timeout is taken for dead.

use super::http::Answer;
use std::time::{Duration, Instant};

/// A part that reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The start: ready once the node is registered. It does not report again.
    Startup,
    /// The graph: ready once the datastore's content is known.
    Graph,
    /// The dataplane: ready once the kernel agreed with it.
    Dataplane,
}

impl Part {
    /// The name that operators know.
    fn name(self) -> &'static str {
        match self {
            Part::Startup => "FelixStartup",
            Part::Graph => "CalculationGraph",
            Part::Dataplane => "InternalDataplaneMainLoop",
        }
    }

    fn timeout(self) -> Option<Duration> {
        match self {
            Part::Startup => None,
            Part::Graph => Some(Duration::from_secs(30)),
            Part::Dataplane => Some(Duration::from_secs(90)),
        }
    }
}

/// What the parts said last.
#[derive(Debug)]
pub(crate) struct Health(Vec<Report>);

#[derive(Debug)]
struct Report {
    part: Part,
    ready: bool,
    at: Instant,
    detail: String,
}

impl Report {
    fn live(&self, now: Instant) -> bool {
        self.part.timeout().is_none_or(|timeout| now.saturating_duration_since(self.at) <= timeout)
    }
}

impl Health {
    /// All parts alive and none ready.
    pub(crate) fn new(now: Instant) -> Health {
        let report = |part| Report { part, ready: false, at: now, detail: String::new() };
        Health([Part::Startup, Part::Graph, Part::Dataplane].map(report).into())
    }

    /// A part is alive; `detail` is empty or says what is wrong.
    pub(crate) fn report(&mut self, part: Part, ready: bool, detail: &str, now: Instant) {
        if let Some(report) = self.0.iter_mut().find(|report| report.part == part) {
            *report = Report { part, ready, at: now, detail: detail.to_owned() };
        }
    }

    /// A part that is alive and as it was.
    pub(crate) fn beat(&mut self, part: Part, now: Instant) {
        self.0.iter_mut().filter(|report| report.part == part).for_each(|report| report.at = now);
    }

    /// Answers a probe: 200 when all is well, 503 when not, each with the table of parts.
    pub(crate) fn answer(&self, path: &str, now: Instant) -> Answer {
        let good = match path {
            "/liveness" => self.0.iter().all(|report| report.live(now)),
            "/readiness" => self.0.iter().all(|report| report.live(now) && report.ready),
            _ => return Answer::not_found(),
        };
        Answer { status: if good { 200 } else { 503 }, body: self.table(now) }
    }

    fn table(&self, now: Instant) -> String {
        let row = |cells: [&str; 5]| {
            let [component, timeout, liveness, readiness, detail] = cells;
            let line = format!("{component:<27}{timeout:<9}{liveness:<17}{readiness:<17}{detail}");
            line.trim_end().to_owned() + "\n"
        };
        let mut text = row(["COMPONENT", "TIMEOUT", "LIVENESS", "READINESS", "DETAIL"]);
        for report in &self.0 {
            let timeout = report.part.timeout().map_or("-".to_owned(), |timeout| format!("{}s", timeout.as_secs()));
            let liveness = if report.live(now) { "reporting live" } else { "timed out" };
            let readiness = if report.ready { "reporting ready" } else { "not ready" };
            text += &row([report.part.name(), &timeout, liveness, readiness, &report.detail]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes() {
        let start = Instant::now();
        let mut health = Health::new(start);
        let status = |health: &Health, path: &str, now| health.answer(path, now).status;
        assert_eq!((status(&health, "/liveness", start), status(&health, "/readiness", start)), (200, 503));
        for part in [Part::Startup, Part::Graph] {
            health.report(part, true, "", start);
        }
        assert_eq!(status(&health, "/readiness", start), 503, "the dataplane is not ready");
        health.report(Part::Dataplane, true, "", start);
        assert_eq!(status(&health, "/readiness", start), 200);

        let later = start + Duration::from_secs(31);
        assert_eq!((status(&health, "/liveness", later), status(&health, "/readiness", later)), (503, 503));
        assert!(health.answer("/liveness", later).body.lines().any(|line| {
            line.split_whitespace().collect::<Vec<_>>()
                == ["CalculationGraph", "30s", "timed", "out", "reporting", "ready"]
        }));
        health.beat(Part::Graph, later);
        assert_eq!((status(&health, "/liveness", later), status(&health, "/readiness", later)), (200, 200));
        let much_later = start + Duration::from_secs(91);
        health.beat(Part::Graph, much_later);
        assert_eq!(status(&health, "/liveness", much_later), 503, "the dataplane is silent");
        assert_eq!(status(&health, "/elsewhere", start), 404);
    }
}

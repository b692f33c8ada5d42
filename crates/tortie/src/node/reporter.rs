//! What the agent tells about itself: metrics and health, served where the configuration says, or nowhere.

use super::health::{Health, Part};
use super::http::{self, Answer};
use super::metrics::{self, Resync};
use api::Event;
use calc::{Endpoint, Reporting, Totals};
use dataplane::Status;
use metrics_exporter_prometheus::PrometheusHandle;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::JoinHandle;

/// The agent's reports and the servers that show them; all on the agent's own thread.
pub(crate) struct Reporter {
    recorded: PrometheusHandle,
    health: Rc<RefCell<Health>>,
    agreed: bool,
    metrics_server: Server,
    health_server: Server,
}

impl Reporter {
    /// Starts counting for `node`.
    pub(crate) fn new(node: &str) -> anyhow::Result<Reporter> {
        Ok(Reporter {
            recorded: metrics::install(node)?,
            health: Rc::new(RefCell::new(Health::new(Instant::now()))),
            agreed: false,
            metrics_server: Server::default(),
            health_server: Server::default(),
        })
    }

    /// Serves where it is wanted and nowhere else.
    pub(crate) fn serve(&mut self, wanted: &Reporting) {
        let recorded = self.recorded.clone();
        let render = move |path: &str| match path {
            "/metrics" => Answer { status: 200, body: recorded.render() },
            _ => Answer::not_found(),
        };
        self.metrics_server.follow("metrics", wanted.metrics.as_ref(), render);
        let health = Rc::clone(&self.health);
        let probe = move |path: &str| health.borrow().answer(path, Instant::now());
        self.health_server.follow("health", wanted.health.as_ref(), probe);
    }

    /// The node is registered.
    pub(crate) fn started(&self) {
        self.health.borrow_mut().report(Part::Startup, true, "", Instant::now());
    }

    /// The graph took a batch of the datastore's events.
    pub(crate) fn batch(&self, events: &[Event]) {
        for event in events {
            match event {
                Event::Init => metrics::resync(Resync::Running),
                Event::InitDone => {
                    metrics::resync(Resync::InSync);
                    self.health.borrow_mut().report(Part::Graph, true, "", Instant::now());
                }
                Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) | Event::Unreadable(_) => {}
            }
        }
    }

    /// The graph came to an end with its batches.
    pub(crate) fn graph_updated(&self, since: Instant, totals: Totals) {
        metrics::graph_updated_in(since.elapsed());
        metrics::totals(totals);
    }

    /// The dataplane said how the kernel stands. Once ready it stays so: what fails later is tried again.
    pub(crate) fn dataplane(&mut self, status: &Status) {
        self.agreed |= status.in_sync && status.failures.is_empty();
        let detail = status.failures.first().map(|failure| format!("{}: {}", failure.step, failure.message));
        self.health.borrow_mut().report(Part::Dataplane, self.agreed, &detail.unwrap_or_default(), Instant::now());
    }

    /// Time passes and this thread is alive.
    pub(crate) fn tick(&self) {
        self.health.borrow_mut().beat(Part::Graph, Instant::now());
        self.recorded.run_upkeep();
    }
}

/// A server that follows its configuration.
#[derive(Default)]
struct Server {
    at: Option<Endpoint>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    fn follow(
        &mut self,
        purpose: &'static str,
        at: Option<&Endpoint>,
        answer: impl Fn(&str) -> Answer + Clone + 'static,
    ) {
        if self.at.as_ref() == at {
            return;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.at = at.cloned();
        self.task = at.cloned().map(|at| tokio::task::spawn_local(http::serve(purpose, at, answer)));
    }
}

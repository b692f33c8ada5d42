//! `get --watch`: what is there, and then each change, as it comes.
//!
//! A table has a column more, EVENT; YAML and JSON are objects of `type` and `object`, as Kubernetes' watches have them.

use super::args::Get;
use super::format::{Columns, Format};
use super::get::{self, Shape};
use super::{Failed, Output, World, table, yaml};
use crate::client::Client;
use api::event::{Event, Key, Object};
use api::resource::{Kind, Resource};
use api::selector::Selector;
use datastore::{Scope, syncer};
use serde_json::json;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// What is watched.
pub(super) struct Watched {
    pub(super) kind: Kind,
    /// Empty for all.
    pub(super) namespace: String,
    /// Empty for all.
    pub(super) names: Vec<String>,
    pub(super) selector: Option<Selector>,
}

/// Prints until nobody reads any more.
pub(super) async fn run(
    what: &Watched,
    format: &Format,
    args: &Get,
    client: &Client,
    world: &World<'_>,
) -> Result<Output, Failed> {
    if matches!(format, Format::Template(_)) {
        return Err(Failed("--watch and a template do not go together: use -o json".to_owned()));
    }
    let scope = match what.namespace.as_str() {
        "" => Scope::Kind(what.kind),
        namespace => Scope::Namespace(what.kind, namespace.to_owned()),
    };
    let mut screen = Screen { what, format, args, client, shown: BTreeMap::new(), widths: None };
    let (sender, mut batches) = mpsc::channel(1);
    let syncing = syncer::run(client.shared_store(), vec![scope], sender);
    let printing = async {
        let mut first = Some(Vec::new());
        while let Some(batch) = batches.recv().await {
            let mut text = String::new();
            for event in batch {
                match (event, &mut first) {
                    (Event::InitDone, waiting) => text += &screen.begin(waiting.take().unwrap_or_default()).await?,
                    (event, Some(waiting)) => waiting.push(event),
                    (event, None) => text += &screen.change(event).await?,
                }
            }
            if !world.say(&text) {
                break;
            }
        }
        Ok(Output::default())
    };
    tokio::select! {
        () = syncing => Ok(Output::default()),
        done = printing => done,
    }
}

struct Screen<'a> {
    what: &'a Watched,
    format: &'a Format,
    args: &'a Get,
    client: &'a Client,
    /// What was printed last of each object that is there.
    shown: BTreeMap<Key, Resource>,
    /// How wide the table's columns were at the beginning.
    widths: Option<Vec<usize>>,
}

impl Screen<'_> {
    /// What is there at the beginning.
    async fn begin(&mut self, events: Vec<Event>) -> Result<String, Failed> {
        let mut found = Vec::new();
        let mut text = String::new();
        for event in events {
            match event {
                Event::InitApply(entry) => found.extend(self.seen(entry.key, entry.object)),
                Event::Delete(key) => found.retain(|(_, resource)| Key::of(resource) != key),
                Event::Unreadable(unreadable) => text += &unreadable_line(unreadable),
                Event::Init | Event::InitDone | Event::Apply(_) => {}
            }
        }
        Ok(text + &self.rows(&found, true).await?)
    }

    /// One change.
    async fn change(&mut self, event: Event) -> Result<String, Failed> {
        let row = match event {
            Event::Apply(entry) | Event::InitApply(entry) => self.seen(entry.key, entry.object),
            Event::Delete(key) => self.shown.remove(&key).map(|resource| ("DELETED", resource)),
            Event::Unreadable(unreadable) => return Ok(unreadable_line(unreadable)),
            Event::Init | Event::InitDone => None,
        };
        self.rows(row.as_slice(), false).await
    }

    /// Notes an object; answers what it is to whoever watches.
    fn seen(&mut self, key: Key, object: Object) -> Option<(&'static str, Resource)> {
        let Object::Resource(mut resource) = object else { return None };
        let metadata = resource.metadata();
        let named = self.what.names.is_empty() || self.what.names.contains(&metadata.name);
        let selected = self.what.selector.as_ref().is_none_or(|selector| selector.matches(&metadata.labels));
        if !named || !selected {
            // it may have fitted before
            return self.shown.remove(&key).map(|before| ("DELETED", before));
        }
        resource.leave_out_defaults();
        let before = self.shown.insert(key, resource.clone());
        Some((if before.is_some() { "MODIFIED" } else { "ADDED" }, resource))
    }

    async fn rows(&mut self, found: &[(&'static str, Resource)], begins: bool) -> Result<String, Failed> {
        match self.format {
            Format::Table(columns) => self.table(found, columns, begins).await,
            Format::Json => {
                let line = |(event, resource): &(&str, Resource)| {
                    json!({"type": event, "object": resource}).to_string() + "\n"
                };
                Ok(found.iter().map(line).collect())
            }
            Format::Yaml | Format::Template(_) => {
                let document = |(event, resource): &(&str, Resource)| {
                    format!("---\n{}", yaml::write(&json!({"type": event, "object": resource})))
                };
                Ok(found.iter().map(document).collect())
            }
        }
    }

    async fn table(
        &mut self,
        found: &[(&'static str, Resource)],
        columns: &Columns,
        begins: bool,
    ) -> Result<String, Failed> {
        let shape = Shape::of(self.what.kind, columns, self.args)?;
        let scene = get::scene(self.client, self.what.kind).await;
        let mut rows = Vec::new();
        if begins && !self.args.no_headers {
            rows.push([vec!["EVENT".to_owned()], shape.headings.clone()].concat());
        }
        rows.extend(
            found.iter().map(|(event, resource)| [vec![(*event).to_owned()], shape.row(resource, &scene)].concat()),
        );
        if begins || self.widths.is_none() {
            // the longest word of this column comes later
            let mut widths = table::widths(&rows);
            if let Some(first) = widths.first_mut() {
                *first = "MODIFIED".len();
            }
            self.widths = Some(widths);
        }
        Ok(table::in_widths(&rows, self.widths.as_deref().unwrap_or_default()))
    }
}

fn unreadable_line(unreadable: api::Unreadable) -> String {
    format!("{}\n", datastore::Error::from(unreadable))
}

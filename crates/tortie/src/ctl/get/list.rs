//! get of every object of a kind.
//!
//! Objects are taken a page at a time, and of each only what is printed is kept: a list of thousands costs the memory of its
//! text.

use super::shape::{Shape, as_number, scene};
use super::{escaped, template};
use crate::client::Client;
use crate::ctl::args::Get;
use crate::ctl::format::Format;
use crate::ctl::watch::Watched;
use crate::ctl::{Failed, Output, yaml};
use api::meta::API_VERSION;
use api::resource::Resource;
use serde_json::json;

pub(super) async fn run(what: &Watched, format: &Format, args: &Get, client: &Client) -> Result<Output, Failed> {
    let kind = format!("{}List", what.kind.name());
    let (stdout, unreadable) = match format {
        Format::Table(columns) => {
            let shape = Shape::of(what.kind, columns, args)?;
            let scene = scene(client, what.kind).await;
            let Listed { items, unreadable, .. } =
                list(what, client, |resource| Ok(shape.row(&resource, &scene))).await?;
            (shape.table(items, args), unreadable)
        }
        Format::Yaml => {
            let item = |resource: Resource| Ok(yaml::write(&json!([resource])));
            let Listed { items, unreadable, revision } = list(what, client, item).await?;
            let mut text = format!("apiVersion: {API_VERSION}\n");
            text += if items.is_empty() { "items: []\n" } else { "items:\n" };
            // each goes as it is written
            items.into_iter().for_each(|item| text += &item);
            text += &yaml::write(&json!({"kind": kind, "metadata": {"resourceVersion": revision}}));
            (text, unreadable)
        }
        Format::Json => {
            let item = |resource: Resource| {
                let text = serde_json::to_string_pretty(&resource).map_err(|error| Failed(error.to_string()))?;
                Ok(format!("    {}", escaped(&text).replace('\n', "\n    ")))
            };
            let Listed { items, unreadable, revision } = list(what, client, item).await?;
            let items = if items.is_empty() { "[]".to_owned() } else { format!("[\n{}\n  ]", items.join(",\n")) };
            let text = format!(
                "{{\n  \"kind\": \"{kind}\",\n  \"apiVersion\": \"{API_VERSION}\",\n  \"metadata\": {{\n    \
                 \"resourceVersion\": \"{revision}\"\n  }},\n  \"items\": {items}\n}}"
            );
            (text, unreadable)
        }
        Format::Template(text) => {
            let item = |resource: Resource| serde_json::to_value(resource).map_err(|error| Failed(error.to_string()));
            let Listed { items, unreadable, revision } = list(what, client, item).await?;
            let metadata = json!({"resourceVersion": revision});
            let list = json!({"kind": kind, "apiVersion": API_VERSION, "metadata": metadata, "items": items});
            (template::render(text, &json!([list]), &as_number(client).await)?, unreadable)
        }
    };
    Ok(Output { stdout, stderr: unreadable, code: 0 })
}

/// What is left of a list.
struct Listed<T> {
    items: Vec<T>,
    /// What is there and cannot be read, a line each.
    unreadable: String,
    revision: String,
}

/// Turns every object into what is printed of it, in the order of lists.
async fn list<T>(
    what: &Watched,
    client: &Client,
    mut print: impl FnMut(Resource) -> Result<T, Failed>,
) -> Result<Listed<T>, Failed> {
    let mut items: Vec<(f64, T)> = Vec::new();
    let mut failed = None;
    let each = |mut resource: Resource| {
        if what.selector.as_ref().is_none_or(|selector| selector.matches(&resource.metadata().labels)) {
            resource.leave_out_defaults();
            let rank = resource.rank();
            match print(resource) {
                Ok(item) => items.push((rank, item)),
                Err(reason) => failed = Some(reason),
            }
        }
    };
    let (unreadable, revision) = client.each(what.kind, &what.namespace, each).await?;
    if let Some(reason) = failed {
        return Err(reason);
    }
    items.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let line = |it| format!("{}\n", datastore::Error::from(it));
    Ok(Listed {
        items: items.into_iter().map(|(_, item)| item).collect(),
        unreadable: unreadable.into_iter().map(line).collect(),
        revision,
    })
}

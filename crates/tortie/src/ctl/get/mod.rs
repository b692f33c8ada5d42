//! get: resources as tables, YAML or JSON (control reference §5.4).

mod list;
mod shape;

pub(super) use shape::{Shape, scene};

use super::args::{Cli, Get};
use super::format::{self, Columns, Format};
use super::watch::{self, Watched};
use super::{Failed, Output, World, input, labels, manage, template, yaml};
use crate::client::Client;
use api::resource::Resource;

pub(super) async fn run(cli: &Cli, args: &Get, world: &World<'_>) -> Result<Output, Failed> {
    let format = format::read(&args.output)?;
    if args.all_namespaces && args.common.namespace.is_some() {
        return Err(Failed("cannot use both --namespace and --all-namespaces flags at the same time".to_owned()));
    }
    if args.watch {
        let what = watched(args)?;
        let client = world.client(cli, &args.common).await?;
        return watch::run(&what, &format, args, &client, world).await;
    }
    if args.filename.is_none() && args.names.is_empty() {
        let what = watched(args)?;
        let client = world.client(cli, &args.common).await?;
        return list::run(&what, &format, args, &client).await;
    }
    let Search { found, errors, client } = find(cli, args, world).await?;
    let mut stdout = String::new();
    if !found.is_empty() {
        stdout = match format {
            Format::Table(columns) => tables(&found, &columns, args, &client).await?,
            Format::Yaml => yaml(&found)?,
            Format::Json => json(&found)?,
            Format::Template(text) => {
                let results = serde_json::to_value(&found).map_err(|error| Failed(error.to_string()))?;
                template::render(&text, &results, &shape::as_number(&client).await)?
            }
        };
    }
    let stderr = errors.iter().map(|error| format!("{error}\n")).collect();
    Ok(Output { stdout, code: u8::from(!errors.is_empty()), stderr })
}

/// What came of a search for named objects.
struct Search {
    found: Vec<Resource>,
    /// Why something that was named is not among it.
    errors: Vec<String>,
    client: Client,
}

/// What the command's words are about.
fn watched(args: &Get) -> Result<Watched, Failed> {
    let word = args.kind.as_deref().unwrap_or_default();
    let kind = manage::kind(word).map_err(|reason| Failed(format!("failed to get resources: {reason}")))?;
    let mut namespace = manage::namespace(kind, &args.common)?;
    if args.all_namespaces {
        if !kind.namespaced() {
            return Err(Failed(format!("{} is not namespaced", kind.name())));
        }
        if !args.names.is_empty() {
            return Err(Failed("cannot use --all-namespace flag for getting a single resource".to_owned()));
        }
        namespace.clear();
    }
    let selector = args.selector.as_deref().map(labels::read).transpose().map_err(Failed)?;
    Ok(Watched { kind, namespace, names: args.names.clone(), selector })
}

/// Reads the objects that are named.
async fn find(cli: &Cli, args: &Get, world: &World<'_>) -> Result<Search, Failed> {
    let mut targets = Vec::new();
    let mut errors = Vec::new();
    if let Some(path) = &args.filename {
        for input::Input { mut resource, origin } in input::read(path, &args.reading, world)? {
            match manage::settle_namespace(&mut resource, &args.common) {
                Ok(()) => {
                    let metadata = resource.metadata();
                    targets.push((resource.kind(), metadata.namespace.clone(), metadata.name.clone()));
                }
                Err(error) => errors.push(origin.explain(error)),
            }
        }
    } else {
        let Watched { kind, namespace, names, .. } = watched(args)?;
        targets.extend(names.into_iter().map(|name| (kind, namespace.clone(), name)));
    }
    let client = world.client(cli, &args.common).await?;
    let mut found = Vec::new();
    for (kind, namespace, name) in targets {
        match client.get(kind, &namespace, &name).await {
            Ok(mut resource) => {
                resource.leave_out_defaults();
                if args.export {
                    strip(&mut resource);
                }
                found.push(resource);
            }
            Err(error) if error.unavailable() => return Err(error.into()),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Ok(Search { found, errors, client })
}

/// Leaves out what belongs to one cluster alone.
fn strip(resource: &mut Resource) {
    let metadata = resource.metadata_mut();
    metadata.namespace.clear();
    metadata.uid.clear();
    metadata.resource_version.clear();
    metadata.creation_timestamp = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
}

fn json(found: &[Resource]) -> Result<String, Failed> {
    let text = match found {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    text.map(|text| escaped(&text)).map_err(|error| Failed(error.to_string()))
}

/// JSON as Go writes it: it escapes these three, which can only be within strings.
fn escaped(text: &str) -> String {
    text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

fn yaml(found: &[Resource]) -> Result<String, Failed> {
    let value = match found {
        [one] => serde_json::to_value(one),
        several => serde_json::to_value(several),
    };
    value.map(|value| yaml::write(&value)).map_err(|error| Failed(error.to_string()))
}

/// One table for each result, each followed by an empty line.
async fn tables(found: &[Resource], columns: &Columns, args: &Get, client: &Client) -> Result<String, Failed> {
    let mut text = String::new();
    for resource in found {
        let shape = Shape::of(resource.kind(), columns, args)?;
        let row = shape.row(resource, &scene(client, resource.kind()).await);
        text += &shape.table(vec![row], args);
    }
    Ok(text)
}

//! get: resources as tables, YAML or JSON (control reference §5.4).

use super::args::{Cli, Get};
use super::format::{self, Columns, Format};
use super::watch::{self, Watched};
use super::{Failed, Output, World, input, labels, manage, table, template, yaml};
use crate::client::Client;
use api::column::{Scene, Shown};
use api::kind::BgpConfigurationSpec;
use api::meta::API_VERSION;
use api::resource::{Kind, Resource, Typed};
use serde::Serialize;

/// What one request found: the resource that was named, or a list.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    One(Resource),
    List(List),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    kind: String,
    api_version: &'static str,
    metadata: ListMetadata,
    items: Vec<Resource>,
    #[serde(skip)]
    of: Kind,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

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
    let Search { found, errors, unreadable, client } = find(cli, args, world).await?;
    let mut stdout = String::new();
    if !found.is_empty() {
        stdout = match format {
            Format::Table(columns) => tables(&found, &columns, args, &client).await?,
            Format::Yaml => yaml(&found)?,
            Format::Json => json(&found)?,
            Format::Template(text) => {
                let results = serde_json::to_value(&found).map_err(|error| Failed(error.to_string()))?;
                let asn = cluster_as(&client).await.map_or_else(|| "unknown".to_owned(), |asn| asn.to_string());
                template::render(&text, &results, &asn)?
            }
        };
    }
    let stderr = errors.iter().chain(&unreadable).map(|error| format!("{error}\n")).collect();
    Ok(Output { stdout, code: u8::from(!errors.is_empty()), stderr })
}

/// What came of a search.
struct Search {
    found: Vec<Found>,
    /// Why something that was named is not among it.
    errors: Vec<String>,
    /// What of a list is there and cannot be read.
    unreadable: Vec<String>,
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

/// Reads what was asked for.
async fn find(cli: &Cli, args: &Get, world: &World<'_>) -> Result<Search, Failed> {
    let mut targets = Vec::new();
    let mut errors = Vec::new();
    let mut whole = None;
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
        let Watched { kind, namespace, names, selector } = watched(args)?;
        if names.is_empty() {
            whole = Some((kind, namespace.clone(), selector));
        }
        targets.extend(names.into_iter().map(|name| (kind, namespace.clone(), name)));
    }
    let client = world.client(cli, &args.common).await?;
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    if let Some((kind, namespace, selector)) = whole {
        let listed = client.list_readable(kind, &namespace).await?;
        unreadable.extend(listed.unreadable.into_iter().map(|one| datastore::Error::from(one).to_string()));
        let (mut items, resource_version) = (listed.resources, listed.revision);
        items.retain(|item| selector.as_ref().is_none_or(|selector| selector.matches(&item.metadata().labels)));
        items.iter_mut().for_each(Resource::leave_out_defaults);
        let metadata = ListMetadata { resource_version };
        found.push(Found::List(List {
            kind: format!("{}List", kind.name()),
            api_version: API_VERSION,
            metadata,
            items,
            of: kind,
        }));
    }
    for (kind, namespace, name) in targets {
        match client.get(kind, &namespace, &name).await {
            Ok(mut resource) => {
                resource.leave_out_defaults();
                if args.export {
                    strip(&mut resource);
                }
                found.push(Found::One(resource));
            }
            Err(error) if error.unavailable() => return Err(error.into()),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Ok(Search { found, errors, unreadable, client })
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

fn json(found: &[Found]) -> Result<String, Failed> {
    let text = match found {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    // Go escapes these three, which in JSON can only be within strings.
    let escape = |text: String| text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    text.map(escape).map_err(|error| Failed(error.to_string()))
}

fn yaml(found: &[Found]) -> Result<String, Failed> {
    let value = match found {
        [one] => serde_json::to_value(one),
        several => serde_json::to_value(several),
    };
    value.map(|value| yaml::write(&value)).map_err(|error| Failed(error.to_string()))
}

/// One table for each result, each followed by an empty line.
async fn tables(found: &[Found], columns: &Columns, args: &Get, client: &Client) -> Result<String, Failed> {
    let mut text = String::new();
    for result in found {
        let (kind, items) = match result {
            Found::One(resource) => (resource.kind(), std::slice::from_ref(resource)),
            Found::List(list) => (list.of, list.items.as_slice()),
        };
        let shape = Shape::of(kind, columns, args)?;
        let scene = scene(client, kind).await;
        let headings = (!args.no_headers).then(|| shape.headings.clone());
        let rows: Vec<Vec<String>> =
            headings.into_iter().chain(items.iter().map(|resource| shape.row(resource, &scene))).collect();
        text += &table::aligned(&rows);
        text.push('\n');
    }
    Ok(text)
}

/// What cells of a kind need besides their object.
pub(super) async fn scene(client: &Client, kind: Kind) -> Scene {
    // nothing else asks for it
    Scene { cluster_as: if kind == Kind::Node { cluster_as(client).await } else { None } }
}

/// The columns of a table.
pub(super) struct Shape {
    pub(super) headings: Vec<String>,
}

impl Shape {
    /// The columns of a kind, or an error that names one that it does not have.
    pub(super) fn of(kind: Kind, columns: &Columns, args: &Get) -> Result<Shape, Failed> {
        let mut headings: Vec<String> = match columns {
            Columns::Short => headings(kind, &[Shown::Always]),
            Columns::Wide => headings(kind, &[Shown::Always, Shown::Wide]),
            Columns::Custom(names) => names.clone(),
        };
        let chosen = matches!(columns, Columns::Custom(_));
        if !chosen && kind.namespaced() && (args.all_namespaces || args.common.namespace.is_some()) {
            headings.insert(0, "NAMESPACE".to_owned());
        }
        let known: Vec<&str> = kind.headings().into_iter().map(|(heading, _)| heading).collect();
        if let Some(unknown) = headings.iter().find(|heading| !known.contains(&heading.as_str())) {
            let known = known.join(", ");
            return Err(Failed(format!("unknown heading {unknown}, valid values are: {known}")));
        }
        Ok(Shape { headings })
    }

    pub(super) fn row(&self, resource: &Resource, scene: &Scene) -> Vec<String> {
        self.headings.iter().map(|heading| resource.cell(heading, scene).unwrap_or_default()).collect()
    }
}

/// The headings of a kind that are shown in one of these ways.
fn headings(kind: Kind, shown: &[Shown]) -> Vec<String> {
    let headings = kind.headings().into_iter().filter(|(_, it)| shown.contains(it));
    headings.map(|(heading, _)| heading.to_owned()).collect()
}

/// The cluster's AS number as BGPConfiguration `default` has it; none where it cannot be read.
async fn cluster_as(client: &Client) -> Option<u32> {
    match client.get(Kind::BGPConfiguration, "", "default").await {
        Ok(resource) => {
            Typed::<BgpConfigurationSpec>::try_from(resource).ok().map(|it| it.spec.as_number.unwrap_or(DEFAULT_AS))
        }
        Err(error) => error.not_found().then_some(DEFAULT_AS),
    }
}

const DEFAULT_AS: u32 = model::Asn::DEFAULT.0;

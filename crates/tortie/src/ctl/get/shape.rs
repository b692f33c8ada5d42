//! The columns of `get`'s tables, and what their cells need to know.

use crate::client::Client;
use crate::ctl::Failed;
use crate::ctl::args::Get;
use crate::ctl::format::Columns;
use crate::ctl::table;
use api::column::{Scene, Shown};
use api::kind::BgpConfigurationSpec;
use api::resource::{Kind, Resource, Typed};

/// What cells of a kind need besides their object.
pub(in crate::ctl) async fn scene(client: &Client, kind: Kind) -> Scene {
    // nothing else asks for it
    Scene { cluster_as: if kind == Kind::Node { cluster_as(client).await } else { None } }
}

/// The columns of a table.
pub(in crate::ctl) struct Shape {
    pub(in crate::ctl) headings: Vec<String>,
}

impl Shape {
    /// The columns of a kind, or an error that names one that it does not have.
    pub(in crate::ctl) fn of(kind: Kind, columns: &Columns, args: &Get) -> Result<Shape, Failed> {
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

    /// A table of these rows with its headings, followed by an empty line.
    pub(super) fn table(&self, rows: Vec<Vec<String>>, args: &Get) -> String {
        let headings = (!args.no_headers).then(|| self.headings.clone());
        let rows: Vec<Vec<String>> = headings.into_iter().chain(rows).collect();
        table::aligned(&rows) + "\n"
    }

    pub(in crate::ctl) fn row(&self, resource: &Resource, scene: &Scene) -> Vec<String> {
        self.headings.iter().map(|heading| resource.cell(heading, scene).unwrap_or_default()).collect()
    }
}

/// The headings of a kind that are shown in one of these ways.
fn headings(kind: Kind, shown: &[Shown]) -> Vec<String> {
    let headings = kind.headings().into_iter().filter(|(_, it)| shown.contains(it));
    headings.map(|(heading, _)| heading.to_owned()).collect()
}

/// What `config "asnumber"` is in a template.
pub(super) async fn as_number(client: &Client) -> String {
    cluster_as(client).await.map_or_else(|| "unknown".to_owned(), |asn| asn.to_string())
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

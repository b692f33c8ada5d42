//! create, apply, replace, delete and validate.

use super::args::{Cli, Create, Delete, Files};
use super::input::{self, Input};
use super::message::Tally;
use super::{Failed, Output, World, manage};
use crate::client::{Client, ClientError};
use api::resource::Resource;

pub(super) async fn create(cli: &Cli, args: &Create, world: &World<'_>) -> Result<Output, Failed> {
    let step = async |client: &Client, resource: Resource| manage::create(client, resource).await;
    write(cli, &args.files, world, step, args.skip_exists).await?.report("create", "created")
}

pub(super) async fn apply(cli: &Cli, args: &Files, world: &World<'_>) -> Result<Output, Failed> {
    let step = async |client: &Client, resource: Resource| manage::apply(client, resource).await;
    write(cli, args, world, step, false).await?.report("apply", "applied")
}

pub(super) async fn replace(cli: &Cli, args: &Files, world: &World<'_>) -> Result<Output, Failed> {
    let step = async |client: &Client, resource: Resource| manage::update(client, resource).await;
    write(cli, args, world, step, false).await?.report("replace", "replaced")
}

/// Takes every resource of the files through `step`; one that fails does not stop the others.
async fn write(
    cli: &Cli,
    files: &Files,
    world: &World<'_>,
    step: impl AsyncFn(&Client, Resource) -> Result<Resource, ClientError>,
    skip_exists: bool,
) -> Result<Tally, Failed> {
    let resources = read(files, world)?;
    let mut tally = Tally::of(resources.iter().map(|input| input.resource.kind()));
    if resources.is_empty() {
        return Ok(tally);
    }
    let client = world.client(cli, &files.common).await?;
    if let Err(error) = client.ensure_initialized("", "").await
        && error.unavailable()
    {
        return Err(error.into());
    }
    for Input { mut resource, origin } in resources {
        let warnings = resource.warnings();
        let as_given = resource.clone();
        let written = match manage::settle_namespace(&mut resource, &files.common) {
            Ok(()) => step(&client, resource).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                tally.done += 1;
                tally.warnings.extend(warnings);
            }
            Err(error) if error.exists() && skip_exists => tally.skipped += 1,
            Err(error) if is_wrong_itself(as_given, files) => tally.errors.push(origin.explain(error)),
            Err(error) => tally.errors.push(error.to_string()),
        }
    }
    Ok(tally)
}

/// Whether an object is refused for what it is, whatever the cluster holds.
fn is_wrong_itself(mut resource: Resource, files: &Files) -> bool {
    manage::settle_namespace(&mut resource, &files.common).is_err() || {
        resource.apply_defaults();
        resource.validate().is_err()
    }
}

/// The resources that the files hold; none only with `--skip-empty`.
fn read(files: &Files, world: &World<'_>) -> Result<Vec<Input>, Failed> {
    match &files.filename {
        Some(path) => input::read(path, &files.reading, world),
        None => Err(Failed("no file is given".to_owned())),
    }
}

pub(super) fn validate(args: &Files, world: &World<'_>) -> Result<Output, Failed> {
    let resources = read(args, world)?;
    let mut tally = Tally::of(resources.iter().map(|input| input.resource.kind()));
    for Input { mut resource, origin } in resources {
        let warnings = resource.warnings();
        let checked =
            manage::settle_namespace(&mut resource, &args.common).map_err(|error| error.to_string()).and_then(|()| {
                resource.apply_defaults();
                resource.validate().map_err(|invalid| invalid.to_string())
            });
        match checked {
            Ok(()) => {
                tally.done += 1;
                tally.warnings.extend(warnings);
            }
            Err(error) => tally.errors.push(origin.explain(error)),
        }
    }
    tally.report("validate", "validated")
}

pub(super) async fn delete(cli: &Cli, args: &Delete, world: &World<'_>) -> Result<Output, Failed> {
    let mut targets = Vec::new();
    let mut refused = Vec::new();
    if let Some(path) = &args.filename {
        for Input { mut resource, origin } in input::read(path, &args.reading, world)? {
            match manage::settle_namespace(&mut resource, &args.common) {
                Ok(()) => {
                    let metadata = resource.metadata();
                    targets.push((resource.kind(), metadata.namespace.clone(), metadata.name.clone()));
                }
                Err(error) => refused.push((resource.kind(), origin.explain(error))),
            }
        }
    } else {
        let word = args.kind.as_deref().unwrap_or_default();
        let kind = manage::kind(word).map_err(|reason| Failed(format!("failed to delete resources: {reason}")))?;
        let namespace = manage::namespace(kind, &args.common)?;
        let names = if args.names.is_empty() { vec![String::new()] } else { args.names.clone() };
        targets.extend(names.into_iter().map(|name| (kind, namespace.clone(), name)));
    }
    let kinds = targets.iter().map(|(kind, ..)| *kind).chain(refused.iter().map(|(kind, _)| *kind));
    let mut tally = Tally::of(kinds);
    tally.errors.extend(refused.into_iter().map(|(_, error)| error));
    if targets.is_empty() && tally.errors.is_empty() {
        return Ok(Output::success("No resources specified\n".to_owned()));
    }
    let client = world.client(cli, &args.common).await?;
    for (kind, namespace, name) in targets {
        match manage::delete(&client, kind, &namespace, &name).await {
            Ok(()) => tally.done += 1,
            Err(error) if error.not_found() && args.skip_not_exists => tally.skipped += 1,
            Err(error) => tally.errors.push(error.to_string()),
        }
    }
    Ok(tally.report_deleted())
}

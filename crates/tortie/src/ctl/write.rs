//! create, apply, replace, delete and validate.

use super::args::{Cli, Common, Create, Delete, Files, Reading, Validate};
use super::input::{self, Input};
use super::message::Tally;
use super::{Failed, Output, World, labels, manage};
use crate::client::{Client, ClientError};
use api::resource::Resource;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// How many writes wait for their answers at a time.
const AT_ONCE: usize = 32;
/// From how many objects on a person is told how far the command is.
const MANY: usize = 500;

pub(super) async fn create(cli: &Cli, args: &Create, world: &World<'_>) -> Result<Output, Failed> {
    let step = async |client: &Client, resource: Resource| manage::create(client, resource).await;
    let tally = write(cli, &args.files, world, step, args.skip_exists).await?;
    report(tally, &args.files, "create", "created")
}

pub(super) async fn apply(cli: &Cli, args: &Files, world: &World<'_>) -> Result<Output, Failed> {
    let step = async |client: &Client, resource: Resource| manage::apply(client, resource).await;
    report(write(cli, args, world, step, false).await?, args, "apply", "applied")
}

pub(super) async fn replace(cli: &Cli, args: &Files, world: &World<'_>) -> Result<Output, Failed> {
    let step = async |client: &Client, resource: Resource| manage::update(client, resource).await;
    report(write(cli, args, world, step, false).await?, args, "replace", "replaced")
}

fn report(tally: Tally, files: &Files, verb: &str, past: &str) -> Result<Output, Failed> {
    let output = tally.report(verb, past)?;
    Ok(Output { stdout: files.trial.told(output.stdout), ..output })
}

/// Takes every resource of the files through `step`; one that fails does not stop the others.
///
/// Objects of one kind that do not depend on each other are written many at a time.
async fn write(
    cli: &Cli,
    files: &Files,
    world: &World<'_>,
    step: impl AsyncFn(&Client, Resource) -> Result<Resource, ClientError>,
    skip_exists: bool,
) -> Result<Tally, Failed> {
    let resources = read(&files.filename, &files.reading, world)?;
    let mut tally = Tally::of(resources.iter().map(|input| input.resource.kind()));
    if resources.is_empty() {
        return Ok(tally);
    }
    let client = files.trial.client(world.client(cli, &files.common).await?).await?;
    if let Err(error) = client.ensure_initialized("", "").await
        && error.unavailable()
    {
        return Err(error.into());
    }
    let (client, step) = (&client, &step);
    let one = async |Input { mut resource, origin }: Input| {
        let warnings = resource.warnings();
        let as_given = resource.clone();
        let written = match manage::settle_namespace(&mut resource, &files.common) {
            Ok(()) => step(client, resource).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Done::Written(warnings),
            Err(error) if error.exists() && skip_exists => Done::Skipped,
            Err(error) if is_wrong_itself(as_given, files) => Done::Failed(origin.explain(error)),
            Err(error) => Done::Failed(error.to_string()),
        }
    };
    let mut progress = Progress::new(tally.total, world);
    for group in groups(resources) {
        let mut results = futures::stream::iter(group.into_iter().map(&one)).buffered(AT_ONCE);
        while let Some(done) = results.next().await {
            match done {
                Done::Written(warnings) => {
                    tally.done += 1;
                    tally.warnings.extend(warnings);
                }
                Done::Skipped => tally.skipped += 1,
                Done::Failed(error) => tally.errors.push(error),
            }
            progress.step();
        }
    }
    Ok(tally)
}

/// What became of one object.
enum Done {
    Written(Vec<String>),
    Skipped,
    Failed(String),
}

/// Neighbours that may be written at the same time: of one kind whose objects are not checked against each
/// other, none named twice.
fn groups(resources: Vec<Input>) -> Vec<Vec<Input>> {
    let mut groups: Vec<Vec<Input>> = Vec::new();
    let mut named = BTreeSet::new();
    for input in resources {
        let resource = &input.resource;
        let joins = groups.last().is_some_and(|group| {
            let first = &group[0].resource;
            first.kind() == resource.kind() && !resource.kind().checked_against_others()
        });
        let metadata = resource.metadata();
        let name = (metadata.namespace.clone(), metadata.name.clone());
        if joins && named.insert(name.clone()) {
            groups.last_mut().expect("it joins one").push(input);
        } else {
            named = BTreeSet::from([name]);
            groups.push(vec![input]);
        }
    }
    groups
}

/// How far a long command is, for a person at a terminal.
struct Progress {
    done: usize,
    total: usize,
    shown: bool,
}

impl Progress {
    fn new(total: usize, world: &World<'_>) -> Progress {
        Progress { done: 0, total, shown: world.progress && total >= MANY }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.shown && (self.done.is_multiple_of(100) || self.done == self.total) {
            let end = if self.done == self.total { "\n" } else { "" };
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r{} of {} resources{end}", self.done, self.total).and_then(|()| stderr.flush());
        }
    }
}

/// Whether an object is refused for what it is, whatever the cluster holds.
fn is_wrong_itself(mut resource: Resource, files: &Files) -> bool {
    manage::settle_namespace(&mut resource, &files.common).is_err() || {
        resource.apply_defaults();
        resource.validate().is_err()
    }
}

/// The resources that the files hold; none only with `--skip-empty`.
fn read(filename: &Option<PathBuf>, reading: &Reading, world: &World<'_>) -> Result<Vec<Input>, Failed> {
    match filename {
        Some(path) => input::read(path, reading, world),
        None => Err(Failed("no file is given".to_owned())),
    }
}

pub(super) fn validate(args: &Validate, world: &World<'_>) -> Result<Output, Failed> {
    let resources = input::read(&args.filename, &args.reading, world)?;
    let mut tally = Tally::of(resources.iter().map(|input| input.resource.kind()));
    let common = Common { config: args.config.clone().unwrap_or_default(), namespace: args.namespace.clone() };
    for Input { mut resource, origin } in resources {
        let warnings = resource.warnings();
        let checked =
            manage::settle_namespace(&mut resource, &common).map_err(|error| error.to_string()).and_then(|()| {
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
        if let Some(selector) = &args.selector {
            let selector = labels::read(selector).map_err(Failed)?;
            let client = world.client(cli, &args.common).await?;
            let mut fits = client.list(kind, &namespace).await?;
            fits.retain(|resource| selector.matches(&resource.metadata().labels));
            if fits.is_empty() {
                return Err(Failed(format!("no {} has labels that fit", kind.name())));
            }
            targets.extend(fits.iter().map(|it| (kind, it.metadata().namespace.clone(), it.metadata().name.clone())));
        } else {
            let names = if args.names.is_empty() { vec![String::new()] } else { args.names.clone() };
            targets.extend(names.into_iter().map(|name| (kind, namespace.clone(), name)));
        }
    }
    let kinds = targets.iter().map(|(kind, ..)| *kind).chain(refused.iter().map(|(kind, _)| *kind));
    let mut tally = Tally::of(kinds);
    tally.errors.extend(refused.into_iter().map(|(_, error)| error));
    if targets.is_empty() && tally.errors.is_empty() {
        return Ok(Output::success("No resources specified\n".to_owned()));
    }
    let client = args.trial.client(world.client(cli, &args.common).await?).await?;
    for (kind, namespace, name) in targets {
        match manage::delete(&client, kind, &namespace, &name).await {
            Ok(()) => tally.done += 1,
            Err(error) if error.not_found() && args.skip_not_exists => tally.skipped += 1,
            Err(error) => tally.errors.push(error.to_string()),
        }
    }
    let output = tally.report_deleted();
    Ok(Output { stdout: args.trial.told(output.stdout), ..output })
}

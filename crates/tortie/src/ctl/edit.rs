//! patch and label: changes of one resource in place.

use super::args::{Cli, Label, Patch};
use super::input::{self, Document};
use super::{Failed, Output, World, manage};
use api::resource::Resource;
use serde_json::Value;

pub(super) async fn patch(cli: &Cli, args: &Patch, world: &World<'_>) -> Result<Output, Failed> {
    let kind = manage::kind(&args.kind).map_err(|reason| Failed(format!("failed to patch resource: {reason}")))?;
    let namespace = manage::namespace(kind, &args.common)?;
    let hit = |reason: String| Failed(format!("hit error: {reason}"));
    let change: Value = serde_json::from_str(&args.patch).map_err(|error| {
        hit(format!("performing {} patch: invalid JSON document: {error}", patch_name(&args.patch_type)))
    })?;
    if let Some((field, reason)) = input::changed(&Document::whole("patch", &args.patch), "", &change) {
        return Err(hit(format!("{} {}: {field}: {reason}", kind.name(), args.name)));
    }
    let client = args.trial.client(world.client(cli, &args.common).await?).await?;
    let present = client.get(kind, &namespace, &args.name).await.map_err(|error| hit(error.to_string()))?;
    let changed = changed(&present, change, &args.patch_type).map_err(hit)?;
    let resource =
        input::decode(kind, changed).map_err(|error| hit(format!("{} {}: {error}", kind.name(), args.name)))?;
    let warnings: String = resource.warnings().iter().map(|warning| format!("warning: {warning}\n")).collect();
    manage::update(&client, resource).await.map_err(|error| hit(format!("updating existing resource: {error}")))?;
    let stdout = args.trial.told(format!("Successfully patched 1 '{}' resource\n", kind.name()));
    Ok(Output { stdout, stderr: warnings, code: 0 })
}

fn patch_name(patch_type: &str) -> &str {
    if patch_type == "strategic" { "strategic merge" } else { patch_type }
}

/// The resource as JSON with the change applied; its identity stays.
fn changed(present: &Resource, change: Value, patch_type: &str) -> Result<Value, String> {
    let mut value = serde_json::to_value(present).map_err(|error| error.to_string())?;
    let identity =
        ["name", "namespace", "uid", "creationTimestamp"].map(|field| (field, value["metadata"][field].clone()));
    match patch_type {
        "strategic" | "merge" => json_patch::merge(&mut value, &change),
        "json" => {
            let operations: json_patch::Patch =
                serde_json::from_value(change).map_err(|error| format!("performing json patch: {error}"))?;
            json_patch::patch(&mut value, &operations).map_err(|error| format!("performing json patch: {error}"))?;
        }
        other => return Err(format!("patch type {other:?} is not strategic, merge or json")),
    }
    for (field, before) in identity {
        if value["metadata"][field] != before {
            return Err(format!("metadata.{field} cannot be changed"));
        }
    }
    Ok(value)
}

pub(super) async fn label(cli: &Cli, args: &Label, world: &World<'_>) -> Result<Output, Failed> {
    let Label { kind: word, name, .. } = args;
    let kind = manage::kind(word).map_err(|reason| Failed(format!("failed to label resource: {reason}")))?;
    let namespace = manage::namespace(kind, &args.common)?;
    let (key, value) = match args.label.split_once('=') {
        Some((key, value)) if !args.remove => (key, value),
        None if args.remove => (args.label.as_str(), ""),
        _ => return Err(Failed(format!("invalid label {}", args.label))),
    };
    let client = args.trial.client(world.client(cli, &args.common).await?).await?;
    let mut resource = client.get(kind, &namespace, name).await?;
    let labels = &mut resource.metadata_mut().labels;
    let message = if args.remove {
        labels
            .remove(key)
            .ok_or_else(|| Failed(format!("cannot remove label of {word} {name}, key {key} does not exist")))?;
        format!("Successfully removed label {key} from {word} {name}\n")
    } else {
        match labels.insert(key.to_owned(), value.to_owned()) {
            None => format!("Successfully set label {key} on {word} {name}\n"),
            Some(before) if args.overwrite || before == value => {
                format!("Successfully updated label {key} on {word} {name}\n")
            }
            Some(_) => {
                return Err(Failed(format!(
                    "failed to update label of {word} {name}, key {key} is already present. please use '--overwrite' \
                     to set a new value"
                )));
            }
        }
    };
    let failed = |error| Failed(format!("failed to update {word} {name}, label not changed: {error}"));
    manage::update(&client, resource).await.map_err(failed)?;
    Ok(Output::success(args.trial.told(message)))
}

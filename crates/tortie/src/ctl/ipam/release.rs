//! ipam release: giving back what nothing uses any more, one address or all that reports agree on.

use super::args::Release;
use super::report::{Cluster, LeakedHandle, Report};
use super::{address, failed, unreadable_lines};
use crate::ctl::args::Cli;
use crate::ctl::{CALICO_VERSION, Failed, Output, World};
use ipam::check::check;
use ipam::{Ipam, SystemClock};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

pub(super) async fn run(cli: &Cli, args: &Release, world: &World<'_>) -> Result<Output, Failed> {
    let address = args.ip.as_deref().map(address).transpose()?;
    let client = world.client_at(cli, &args.datastore.config).await?;
    let ipam = Ipam::new(client.store(), &SystemClock);
    let Some(address) = address else {
        let cluster = Cluster::read(&client).await?;
        let (leaks, mut output) = Leaks::read(&args.from_report, &cluster, args.force)?;
        refuse_unreadable(&ipam).await?;
        leaks.release(&ipam, &mut output).await?;
        if output.code == 0 {
            output.stdout += "You may now unlock the data store.\n";
        }
        return Ok(output);
    };
    let unassigned = ipam.release_ips(&[ipam::Release::of(address)]).await.map_err(failed)?;
    if !unassigned.is_empty() {
        return Err(Failed(format!("IP address {address} is not assigned")));
    }
    let mut output = Output::success(format!("Successfully released IP address {address}\n"));
    if args.force {
        output.stderr = "warning: --force changes nothing with --ip\n".to_owned();
    }
    Ok(output)
}

/// Refuses where something of IPAM, a node or an endpoint, or an address that one of them has, cannot be read: a report
/// may say leaked of what it holds.
async fn refuse_unreadable(ipam: &Ipam<'_>) -> Result<(), Failed> {
    let findings = check(&ipam.snapshot().await.map_err(failed)?);
    if !findings.is_blind() {
        return Ok(());
    }
    let mut lines = unreadable_lines(&findings.unread);
    findings.unreadable.iter().for_each(|fault| lines += &format!("{fault}\n"));
    Err(Failed(format!("{lines}What these objects hold is not known. Refusing to release")))
}

/// What all reports agree is leaked.
struct Leaks {
    addresses: BTreeMap<IpAddr, ipam::Release>,
    handles: BTreeMap<String, LeakedHandle>,
}

impl Leaks {
    /// Reads the reports and refuses those that are not of this cluster as it is; also what to print so far.
    fn read(paths: &[impl AsRef<Path>], cluster: &Cluster, force: bool) -> Result<(Self, Output), Failed> {
        let mut output = Output::default();
        let mut is_current = false;
        let mut leaks: Option<Leaks> = None;
        for path in paths {
            let path = path.as_ref();
            let report = Report::load(path)?;
            let shown = path.display();
            if report.cluster_guid != cluster.guid {
                return Err(Failed(format!(
                    "cluster does not match the provided report ({shown}): mismatched cluster GUID. Refusing to release"
                )));
            }
            if report.version != CALICO_VERSION {
                if !force {
                    return Err(Failed(format!(
                        "the provided report ({shown}) was produced using a different version ({}) of calicoctl. \
                         Refusing to release",
                        report.version
                    )));
                }
                output.stdout += "WARNING: Report was produced using a different version of calicoctl. Ignoring due \
                                  to --force option\n";
            }
            is_current |= report.cluster_information_revision == cluster.revision;
            let of_report = Leaks::of(&report)?;
            leaks = Some(match leaks {
                None => of_report,
                Some(leaks) => leaks.and(&of_report),
            });
        }
        if !is_current {
            return Err(Failed(
                "the provided reports are all stale - at least one should be up-to-date. Please generate a new report \
                 while the data store is locked and try again"
                    .to_owned(),
            ));
        }
        if !cluster.locked {
            if !force {
                let text = "data store is not locked. Either lock the data store, or re-run with --force";
                return Err(Failed(text.to_owned()));
            }
            output.stdout += "WARNING: Data store is not locked. Ignoring due to --force option\n";
        }
        let none = Leaks { addresses: BTreeMap::new(), handles: BTreeMap::new() };
        Ok((leaks.unwrap_or(none), output))
    }

    fn of(report: &Report) -> Result<Self, Failed> {
        let mut addresses = BTreeMap::new();
        for reported in report.allocations.values().flatten().filter(|reported| !reported.in_use) {
            let address = address(&reported.ip)?;
            let handle = Some(reported.handle.clone()).filter(|handle| !handle.is_empty());
            // calicoctl writes 0 for an allocation without a number
            let sequence = reported.sequence_number.filter(|number| *number != 0);
            addresses.insert(address, ipam::Release { address, handle, sequence });
        }
        let handles = report.leaked_handles.iter().map(|handle| (handle.id.clone(), handle.clone())).collect();
        Ok(Leaks { addresses, handles })
    }

    /// Keeps what the other has too, unchanged.
    fn and(mut self, other: &Leaks) -> Self {
        self.addresses.retain(|address, release| other.addresses.get(address) == Some(release));
        self.handles.retain(|id, handle| other.handles.get(id) == Some(handle));
        self
    }

    async fn release(&self, ipam: &Ipam<'_>, output: &mut Output) -> Result<(), Failed> {
        if self.addresses.is_empty() {
            output.stdout += "Report didn't contain any leaked IPs to clean up.\n";
        } else {
            self.release_addresses(ipam, output).await;
        }
        if self.handles.is_empty() {
            output.stdout += "Report didn't contain any handles to clean up.\n";
        } else {
            self.delete_handles(ipam, output).await;
        }
        Ok(())
    }

    async fn release_addresses(&self, ipam: &Ipam<'_>, output: &mut Output) {
        let releases: Vec<ipam::Release> = self.addresses.values().cloned().collect();
        output.stdout += &format!("Releasing {} old IPs...\n", releases.len());
        match ipam.release_ips(&releases).await {
            Ok(gone) => {
                output.stdout += &format!("Released {} IPs successfully\n", releases.len() - gone.len());
                if !gone.is_empty() {
                    let gone = gone.len();
                    output.stdout +=
                        &format!("{gone} addresses marked as leaked in the report had already been cleaned up.\n");
                }
            }
            Err(error) => {
                output.code = 1;
                output.stderr += &format!(
                    "An error occurred while releasing some IPs: {error}.  Problems are often caused by an out-of-date \
                     IPAM report.  Try regenerating the IPAM report and retry.\n"
                );
            }
        }
    }

    async fn delete_handles(&self, ipam: &Ipam<'_>, output: &mut Output) {
        output.stdout += &format!("Deleting {} handles...\n", self.handles.len());
        output.stdout += "Key: '.' = Deleted OK; 'x' = skip, handle missing/changed.\n";
        let (mut deleted, mut skipped, mut errors) = (0, 0, 0);
        for (id, handle) in &self.handles {
            match ipam.delete_handle(id, &api::Revision(handle.revision.clone())).await {
                Ok(true) => {
                    deleted += 1;
                    output.stdout.push('.');
                }
                Ok(false) => {
                    skipped += 1;
                    output.stdout.push('x');
                }
                Err(error) => {
                    errors += 1;
                    output.code = 1;
                    output.stderr += &format!("Deleting handle {id} failed: {error}.\n");
                }
            }
        }
        output.stdout += &format!("\nReleased {deleted} handles; {skipped} skipped; {errors} errors.\n");
    }
}

//! BPF filters at the ingress of a link: the `clsact` qdisc and the filters in it, over rtnetlink.
//!
//! Ours are recognised by their name, which also says which object they came from. One of ours is replaced in one step,
//! so no packet passes between the old program and the new one; what is another's stays, whatever its priority.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use crate::netlink::{Cause, Error, Netlink};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Priority of our filters (`pref` in `tc`): IP in IP's protocol number, behind what others put first.
const PRIORITY: u16 = 4;
const HANDLE: u32 = 1;
const CLSACT: &str = "clsact";
/// The older qdisc that has filters at ingress too; a link has one or the other.
const INGRESS_QDISC: &str = "ingress";
const CLSACT_HANDLE: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
const EGRESS: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_EGRESS };
const INGRESS: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };

/// A BPF filter at a link's ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The name given when it was attached.
    pub(super) name: String,
    /// Its program's identity.
    pub(super) program: u32,
    handle: TcHandle,
    info: u32,
}

/// Lists the BPF filters at a link's ingress.
pub(super) fn filters(netlink: &mut Netlink, link: u32) -> Result<Vec<Filter>, Error> {
    let request = RouteNetlinkMessage::GetTrafficFilter(message(link, TcHandle::UNSPEC, INGRESS));
    let listed = netlink.dump(request, parse);
    listed.map_err(|cause| cause.during(format!("list the ingress filters of link {link}")))
}

/// Whose qdisc the filters of a link are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qdisc {
    /// Made just now.
    Ours,
    /// It was there.
    Found,
}

/// Attaches a program, in place of `old` if that is given; else where nobody else's filter is.
pub(super) fn attach(
    netlink: &mut Netlink,
    link: u32,
    name: &str,
    program: BorrowedFd<'_>,
    old: Option<&Filter>,
) -> Result<Qdisc, Error> {
    let mut qdisc = message(link, CLSACT_HANDLE, TcHandle::CLSACT);
    qdisc.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    let qdisc = match netlink.change(RouteNetlinkMessage::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_EXCL) {
        Ok(()) => Qdisc::Ours,
        Err(Cause::Refused { errno: Errno::EEXIST, .. }) => Qdisc::Found,
        Err(cause) => return Err(cause.during(format!("add qdisc clsact to link {link}"))),
    };
    let (handle, info, flag) = match old {
        Some(old) => (old.handle, old.info, NLM_F_REPLACE),
        None => {
            let priority = free_priority(&priorities(netlink, link)?);
            let info = (u32::from(priority) << 16) | u32::from(all_protocols());
            // another's that came meanwhile is not replaced
            (TcHandle::from(HANDLE), info, NLM_F_EXCL)
        }
    };
    let descriptor = u32::try_from(program.as_raw_fd()).expect("an open descriptor is not negative");
    let mut filter = message(link, handle, INGRESS);
    filter.header.info = info;
    filter.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    filter.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(descriptor)),
        TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    let words = || format!("attach BPF filter {name} (pref {}) at ingress of link {link}", info >> 16);
    match netlink.change(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE | flag) {
        Ok(()) => Ok(qdisc),
        Err(cause) => Err(cause.during(words())),
    }
}

/// Lists the priorities at a link's ingress that any filter has, whatever its kind.
fn priorities(netlink: &mut Netlink, link: u32) -> Result<BTreeSet<u16>, Error> {
    let request = RouteNetlinkMessage::GetTrafficFilter(message(link, TcHandle::UNSPEC, INGRESS));
    // of the header alone, struct tcmsg: what is inside a filter of another kind need not be understood
    let listed = netlink.list(request, |message| {
        let info = message.body.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        let info = info.filter(|_| message.kind == libc::RTM_NEWTFILTER);
        Ok(info.and_then(|info| u16::try_from(info >> 16).ok()))
    });
    let listed = listed.map_err(|cause| cause.during(format!("list the ingress filters of link {link}")))?;
    Ok(listed.objects.into_iter().collect())
}

/// Chooses a priority that nobody has.
///
/// Before another's of the same rank rather than behind it: ours passes on all that is not the tunnel's, and another's
/// may end the search for filters with every packet.
fn free_priority(taken: &BTreeSet<u16>) -> u16 {
    let mut candidates = (1..=PRIORITY).rev().chain(PRIORITY + 1..=u16::MAX);
    candidates.find(|priority| !taken.contains(priority)).unwrap_or(PRIORITY)
}

/// Detaches a filter; one that is gone is detached already.
pub(super) fn detach(netlink: &mut Netlink, link: u32, filter: &Filter) -> Result<(), Error> {
    let mut request = message(link, filter.handle, INGRESS);
    request.header.info = filter.info;
    request.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    match netlink.change(RouteNetlinkMessage::DelTrafficFilter(request), 0) {
        Ok(()) | Err(Cause::Refused { errno: Errno::ENOENT | Errno::ENODEV | Errno::EINVAL, .. }) => Ok(()),
        Err(cause) => Err(cause.during(format!("detach BPF filter {} from link {link}", filter.name))),
    }
}

/// Takes `clsact` from a link if no filter is left in it, neither at ingress nor at egress.
pub(super) fn remove_if_empty(netlink: &mut Netlink, link: u32) -> Result<(), Error> {
    for parent in [INGRESS, EGRESS] {
        let request = RouteNetlinkMessage::GetTrafficFilter(message(link, TcHandle::UNSPEC, parent));
        let filters = netlink
            // one that cannot be read is a filter too
            .list(request, |_| Ok(Some(())))
            .map_err(|cause| cause.during(format!("list the filters of link {link}")))?;
        if !filters.objects.is_empty() {
            return Ok(());
        }
    }
    let mut qdisc = message(link, CLSACT_HANDLE, TcHandle::CLSACT);
    qdisc.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    match netlink.change(RouteNetlinkMessage::DelQueueDiscipline(qdisc), 0) {
        Ok(()) | Err(Cause::Refused { errno: Errno::ENOENT | Errno::ENODEV | Errno::EINVAL, .. }) => Ok(()),
        Err(cause) => Err(cause.during(format!("remove qdisc clsact from link {link}"))),
    }
}

/// Lists the links with a qdisc that has filters at ingress: only these can have some of ours.
pub(super) fn links(netlink: &mut Netlink) -> Result<Vec<u32>, Error> {
    let kinds = [CLSACT, INGRESS_QDISC].map(|kind| TcAttribute::Kind(kind.to_owned()));
    let with_filters = |answer: &RouteNetlinkMessage| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(qdisc) if kinds.iter().any(|kind| qdisc.attributes.contains(kind)) => {
            u32::try_from(qdisc.header.index).ok()
        }
        _ => None,
    };
    let listed = netlink.dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()), with_filters);
    listed.map_err(|cause| cause.during("list qdiscs"))
}

/// ETH_P_ALL in the byte order of `tcm_info`: tc's own matching by protocol is left to the programs.
fn all_protocols() -> u16 {
    u16::try_from(libc::ETH_P_ALL).expect("an EtherType has 16 bits").to_be()
}

fn message(link: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(link).expect("the kernel's link indexes are positive ints"));
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

fn parse(answer: &RouteNetlinkMessage) -> Option<Filter> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = answer else { return None };
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let mut filter =
        Filter { name: String::new(), program: 0, handle: message.header.handle, info: message.header.info };
    for option in options {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name.clone_from(name),
            TcOption::Bpf(TcFilterBpfOption::ProgId(program)) => filter.program = *program,
            _ => {}
        }
    }
    (filter.program != 0).then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_of_another_is_not_taken() {
        for (taken, expect) in
            [(&[][..], 4), (&[49152], 4), (&[4], 3), (&[3, 4], 2), (&[1, 2, 3, 4], 5), (&[1, 2, 3, 4, 5, 7], 6)]
        {
            assert_eq!(free_priority(&taken.iter().copied().collect()), expect, "{taken:?}");
        }
    }
}

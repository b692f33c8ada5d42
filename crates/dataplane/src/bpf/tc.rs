//! BPF filters at the ingress of a link: the `clsact` qdisc and the filters in it, over rtnetlink.
//!
//! Ours are recognised by their name, which also says which object they came from. A filter of the same
//! priority and handle is replaced in one step, so no packet passes between the old program and the new one.

#![expect(clippy::wildcard_enum_match_arm, reason = "netlink attributes are an open set")]

use crate::netlink::{Cause, Error, Netlink};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use nix::errno::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Priority of our filters (`pref` in `tc`): IP in IP's protocol number, behind what others put first.
const PRIORITY: u16 = 4;
const HANDLE: u32 = 1;
const CLSACT: &str = "clsact";
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

/// Attaches a program, in place of the one that is there under our priority.
pub(super) fn attach(netlink: &mut Netlink, link: u32, name: &str, program: BorrowedFd<'_>) -> Result<(), Error> {
    let mut qdisc = message(link, CLSACT_HANDLE, TcHandle::CLSACT);
    qdisc.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    match netlink.change(RouteNetlinkMessage::NewQueueDiscipline(qdisc), NLM_F_CREATE | NLM_F_EXCL) {
        Ok(()) | Err(Cause::Refused { errno: Errno::EEXIST, .. }) => {}
        Err(cause) => return Err(cause.during(format!("add qdisc clsact to link {link}"))),
    }
    let descriptor = u32::try_from(program.as_raw_fd()).expect("an open descriptor is not negative");
    let mut filter = message(link, TcHandle::from(HANDLE), INGRESS);
    filter.header.info = (u32::from(PRIORITY) << 16) | u32::from(all_protocols());
    filter.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    filter.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(descriptor)),
        TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    netlink
        .change(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE | NLM_F_REPLACE)
        .map_err(|cause| cause.during(format!("attach BPF filter {name} (pref {PRIORITY}) at ingress of link {link}")))
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

/// Lists the links that have a `clsact` qdisc: only these can have filters of ours.
pub(super) fn links(netlink: &mut Netlink) -> Result<Vec<u32>, Error> {
    let with_clsact = |answer: &RouteNetlinkMessage| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(qdisc)
            if qdisc.attributes.contains(&TcAttribute::Kind(CLSACT.to_owned())) =>
        {
            u32::try_from(qdisc.header.index).ok()
        }
        _ => None,
    };
    let listed = netlink.dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()), with_clsact);
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

//! Loads an object file: creates its maps, points its programs at them, and hands the programs to the kernel.
//!
//! aya parses the object and creates the maps. Its own loader is left alone, because it begins with reading the
//! types of the whole kernel (`/sys/kernel/btf/vmlinux`), which take tens of MiB and which only programs need that
//! look into the kernel's structures; ours know packets and their maps. For the same reason the object's own types
//! stay here: the kernel takes programs and maps without (bpf(2)).

use crate::bpf::program::failed_load;
use crate::tunnel::TunnelError;
use aya::maps::MapData;
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info, bpf_prog_type};
use aya_obj::{Map, Object};
use std::collections::{BTreeMap, HashSet};
use std::ffi::c_char;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the verifier may say about a program that it refuses, in bytes.
const VERIFIER_LOG: usize = 64 << 10;

/// An object whose maps are in the kernel, and whose programs can follow.
pub(super) struct Loader {
    object: Object,
    /// By name.
    pub(super) maps: BTreeMap<String, MapData>,
}

impl Loader {
    /// Parses an object and creates its maps.
    pub(super) fn new(object: &[u8]) -> Result<Self, TunnelError> {
        let mut object = Object::parse(object).map_err(|error| failed_load("the object", &error))?;
        let maps: BTreeMap<String, Map> = object.maps.drain().collect();
        let mut created = BTreeMap::new();
        for (name, map) in &maps {
            let data = MapData::create(untyped(map), name, None).map_err(|error| failed_load(name, &error))?;
            created.insert(name.clone(), data);
        }
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let descriptors = maps.iter().zip(created.values());
        let descriptors = descriptors.map(|((name, map), data)| (name.as_str(), data.fd().as_fd().as_raw_fd(), map));
        object.relocate_maps(descriptors, &text).map_err(|error| failed_load("the object", &error))?;
        object.relocate_calls(&text).map_err(|error| failed_load("the object", &error))?;
        Ok(Loader { object, maps: created })
    }

    /// Loads a program for tc filters; returns it with the kernel's number for it.
    pub(super) fn classifier(&self, name: &str) -> Result<(OwnedFd, u32), TunnelError> {
        let loaded = load(&self.object, name).map_err(|error| failed_load(name, &error))?;
        let id = identity(loaded.as_fd()).map_err(|error| failed_load(name, &error))?;
        Ok((loaded, id))
    }
}

/// The same map without reference to types of the object.
fn untyped(map: &Map) -> Map {
    Map::new_from_params(map.map_type(), map.key_size(), map.value_size(), map.max_entries(), map.map_flags())
}

/// Loads a program; one that is refused is tried again for the verifier's reasons.
fn load(object: &Object, name: &str) -> io::Result<OwnedFd> {
    let program = &object.programs[name];
    let instructions = &object.functions[&program.function_key()].instructions;
    // SAFETY: bpf_attr is plain data, for which zero bytes are a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: every field of the union is plain data, and this one is what BPF_PROG_LOAD reads.
    let fields = unsafe { &mut attr.__bindgen_anon_3 };
    fields.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    fields.insns = instructions.as_ptr() as u64;
    fields.insn_cnt = u32::try_from(instructions.len()).expect("a program is small");
    fields.license = program.license.as_ptr() as u64;
    // the last byte ends the name
    for (to, from) in fields.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from as c_char;
    }
    // SAFETY: instructions and licence live in the object, which outlives the call.
    let refused = match unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
        // SAFETY: just opened, and nobody else's.
        Ok(descriptor) => return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        Err(refused) => refused,
    };
    let mut log = vec![0; VERIFIER_LOG];
    // SAFETY: as above.
    let fields = unsafe { &mut attr.__bindgen_anon_3 };
    (fields.log_buf, fields.log_size, fields.log_level) = (log.as_mut_ptr() as u64, VERIFIER_LOG as u32, 1);
    // SAFETY: as above, and the log is as long as it is told.
    match unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
        // SAFETY: just opened, and nobody else's.
        Ok(descriptor) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        Err(_) => Err(with_log(refused, &log)),
    }
}

/// Adds what the verifier said, if it got as far as that.
fn with_log(refused: io::Error, log: &[u8]) -> io::Error {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    match String::from_utf8_lossy(&log[..end]).trim() {
        "" => refused,
        said => io::Error::new(refused.kind(), format!("{refused}; the verifier says: {said}")),
    }
}

/// Asks for the kernel's number of a program.
fn identity(program: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: both are plain data, for which zero bytes are a value.
    let (mut attr, mut info) = unsafe { (std::mem::zeroed::<bpf_attr>(), std::mem::zeroed::<bpf_prog_info>()) };
    // SAFETY: every field of the union is plain data, and this one is what BPF_OBJ_GET_INFO_BY_FD reads.
    let fields = unsafe { &mut attr.info };
    fields.bpf_fd = u32::try_from(program.as_raw_fd()).expect("an open descriptor is not negative");
    (fields.info, fields.info_len) = (&raw mut info as u64, size_of_val(&info) as u32);
    // SAFETY: the kernel fills in no more than it is told there is, and the place outlives the call.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.id)
}

/// Calls bpf(2).
///
/// # Safety
/// What the attributes point to must live until it returns, and be as long as they say.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes are as long as told; the rest is the caller's promise.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attr, size_of::<bpf_attr>()) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(answer).expect("a descriptor is an int"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_the_verifier_said() {
        let refused = || io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(with_log(refused(), &[0; 8]).to_string(), "Permission denied (os error 13)");
        let said = with_log(refused(), b"R1 type=ctx expected=fp\n\0\0").to_string();
        assert_eq!(said, "Permission denied (os error 13); the verifier says: R1 type=ctx expected=fp");
    }
}

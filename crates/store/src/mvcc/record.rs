//! The byte form of the two records: the live value of a key, and one event of the history.
//!
//! Integers are little-endian and of fixed width; the value is what remains. Both forms are part of the schema that
//! [`super::storage`] numbers.

use etcd_client::proto::PbKeyValue;

use crate::refusal::Fault;

/// Bytes of a live record before the value.
const LIVE_FIELDS: usize = 4 + 4 * 8;
/// Bytes of an event before the key.
const EVENT_FIELDS: usize = 1 + 4 * 8 + 4 + 4;

/// A position in the history: the store's revision, and the place inside the transaction that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision {
    pub(crate) main: i64,
    pub(crate) sub: u32,
}

impl Revision {
    /// Returns the key of the events table.
    pub(crate) fn key(self) -> (i64, u32) {
        (self.main, self.sub)
    }
}

/// The live record of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Live {
    pub(crate) kv: PbKeyValue,
    /// Where the history holds the event that wrote it.
    pub(crate) revision: Revision,
}

impl Live {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let kv = &self.kv;
        let mut bytes = Vec::with_capacity(LIVE_FIELDS + kv.value.len());
        bytes.extend_from_slice(&self.revision.sub.to_le_bytes());
        for field in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&kv.value);
        bytes
    }

    pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, Fault> {
        let mut fields = Fields { table: "current", rest: bytes };
        let sub = fields.u32()?;
        let (create_revision, mod_revision, version, lease) =
            (fields.i64()?, fields.i64()?, fields.i64()?, fields.i64()?);
        Ok(Self {
            kv: PbKeyValue {
                key: key.to_vec(),
                create_revision,
                mod_revision,
                version,
                value: fields.rest.to_vec(),
                lease,
            },
            revision: Revision { main: mod_revision, sub },
        })
    }
}

/// What an event did to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Delete,
}

/// One event of the history, borrowed from the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    /// The event this one replaced, if the key was there.
    pub(crate) previous: Option<Revision>,
    create_revision: i64,
    version: i64,
    lease: i64,
    value: &'a [u8],
}

impl<'a> Event<'a> {
    pub(crate) fn new(kind: Kind, kv: &'a PbKeyValue, previous: Option<Revision>) -> Self {
        Self {
            kind,
            key: &kv.key,
            previous,
            create_revision: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
            value: &kv.value,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(EVENT_FIELDS + self.key.len() + self.value.len());
        bytes.push(match self.kind {
            Kind::Put => 0,
            Kind::Delete => 1,
        });
        // revision 0 is before every event
        let previous = self.previous.unwrap_or(Revision { main: 0, sub: 0 });
        for field in [self.create_revision, self.version, self.lease, previous.main] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&previous.sub.to_le_bytes());
        let length = u32::try_from(self.key.len()).expect("a key is part of a request of at most 1.5 MiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(self.value);
        bytes
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut fields = Fields { table: "events", rest: bytes };
        let kind = match fields.u8()? {
            0 => Kind::Put,
            1 => Kind::Delete,
            _ => return Err(Fault::Malformed("events")),
        };
        let (create_revision, version, lease) = (fields.i64()?, fields.i64()?, fields.i64()?);
        let previous = Revision { main: fields.i64()?, sub: fields.u32()? };
        let length = fields.u32()? as usize;
        let (key, value) = fields.rest.split_at_checked(length).ok_or(Fault::Malformed("events"))?;
        let previous = (previous.main != 0).then_some(previous);
        Ok(Self { kind, key, previous, create_revision, version, lease, value })
    }

    /// Returns the key-value pair as the API shows it: a deletion has a key and a modification revision alone.
    pub(crate) fn to_kv(self, main: i64) -> PbKeyValue {
        PbKeyValue {
            key: self.key.to_vec(),
            create_revision: self.create_revision,
            mod_revision: main,
            version: self.version,
            value: self.value.to_vec(),
            lease: self.lease,
        }
    }
}

/// Takes fixed-width fields off the front of a record.
struct Fields<'a> {
    table: &'static str,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Fault::Malformed(self.table))?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn i64(&mut self) -> Result<i64, Fault> {
        Ok(i64::from_le_bytes(self.take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv() -> PbKeyValue {
        PbKeyValue {
            key: b"/k".to_vec(),
            create_revision: 3,
            mod_revision: 9,
            version: 2,
            value: b"v\0".to_vec(),
            lease: -7,
        }
    }

    #[test]
    fn a_live_record_survives_the_file() {
        let live = Live { kv: kv(), revision: Revision { main: 9, sub: 4 } };
        assert_eq!(Live::decode(b"/k", &live.encode()).unwrap(), live);
    }

    #[test]
    fn an_event_survives_the_file() {
        let kv = kv();
        for previous in [None, Some(Revision { main: 3, sub: 1 })] {
            for kind in [Kind::Put, Kind::Delete] {
                let bytes = Event::new(kind, &kv, previous).encode();
                let event = Event::decode(&bytes).unwrap();
                assert_eq!((event.kind, event.previous, event.to_kv(9)), (kind, previous, kv.clone()));
            }
        }
    }

    #[test]
    fn a_short_record_is_a_fault_and_no_panic() {
        let bytes = Event::new(Kind::Put, &kv(), None).encode();
        for length in 0..EVENT_FIELDS + b"/k".len() {
            assert!(Event::decode(&bytes[..length]).is_err(), "event of {length} bytes");
        }
        assert!(Live::decode(b"/k", &[0; LIVE_FIELDS - 1]).is_err());
    }
}

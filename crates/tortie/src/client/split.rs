//! Replacing a pool by smaller ones.

use super::{Client, ClientError, identify, prepare};
use api::event::{Key, Object, Revision};
use api::kind::IpPoolSpec;
use api::meta::ObjectMeta;
use api::resource::{Resource, Typed};
use datastore::Write;
use ipnet::IpNet;

/// The most pools that one split makes; etcd takes 128 writes in a transaction.
const MAX_PARTS: i64 = 64;

/// Longest name of an object.
const MAX_NAME: usize = 253;

/// Why a pool is not split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The number does not fit the pool.
    #[error("error splitting the CIDR {cidr} into {parts} CIDRs: {reason}")]
    Number {
        /// The pool's range.
        cidr: String,
        /// The number.
        parts: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// A part would not be a pool.
    #[error("error using unsafe create to make split pool with cidr {cidr}: {reason}")]
    Part {
        /// The part's range.
        cidr: String,
        /// What is wrong with it.
        reason: ClientError,
    },
    /// The datastore refused, and nothing is changed.
    #[error("{0}")]
    Client(#[from] ClientError),
}

impl Client {
    /// Replaces a pool by a number of equal ones, all or nothing; blocks and addresses stay as they are.
    ///
    /// The parts are called `split-NAME-0` and so on, and are enabled.
    pub async fn split_pool(&self, pool: &Typed<IpPoolSpec>, parts: i64) -> Result<Vec<Typed<IpPoolSpec>>, SplitError> {
        let mut pools = Vec::new();
        let mut writes = Vec::new();
        for (index, cidr) in ranges(&pool.spec.cidr, parts)?.into_iter().enumerate() {
            let part = part(pool, index, cidr).map_err(|reason| SplitError::Part { cidr: cidr.to_string(), reason })?;
            let resource = Resource::from(part.clone());
            writes.push(Write::Create(Key::of(&resource), Object::Resource(resource)));
            pools.push(part);
        }
        let revision = Revision(pool.metadata.resource_version.clone());
        writes.push(Write::Delete(Key::of(&Resource::from(pool.clone())), revision));
        self.store().transact(&writes).await.map_err(ClientError::from)?;
        Ok(pools)
    }
}

fn part(pool: &Typed<IpPoolSpec>, index: usize, cidr: IpNet) -> Result<Typed<IpPoolSpec>, ClientError> {
    let old = &pool.metadata;
    let suffix = format!("-{index}");
    let mut name = format!("split-{}", old.name);
    name.truncate(MAX_NAME - suffix.len());
    let mut metadata = ObjectMeta {
        labels: old.labels.clone(),
        annotations: old.annotations.clone(),
        ..ObjectMeta::named(&(name + &suffix))
    };
    identify(&mut metadata);
    let mut spec = pool.spec.clone();
    spec.cidr = cidr.to_string();
    spec.disabled = false;
    let mut resource = Resource::from(Typed::new(metadata, spec));
    prepare(&mut resource)?;
    resource.try_into().map_err(|_| ClientError::Invalid("a part of a pool is no pool".to_owned()))
}

/// The parts of a range, in the order of their addresses.
fn ranges(cidr: &str, parts: i64) -> Result<Vec<IpNet>, SplitError> {
    let refused = |reason: String| SplitError::Number { cidr: cidr.to_owned(), parts, reason };
    let number = u64::try_from(parts).ok().filter(|number| *number > 1 && number.is_power_of_two());
    let Some(number) = number else {
        return Err(refused(format!("number to split CIDR into is not a valid power of 2: {parts}")));
    };
    if parts > MAX_PARTS {
        return Err(refused(format!("one split makes {MAX_PARTS} pools at most; split the parts again")));
    }
    let range: IpNet = cidr.parse().map_err(|error| refused(format!("{error}")))?;
    let length = u32::from(range.prefix_len()) + number.ilog2();
    let subnets = u8::try_from(length).ok().and_then(|length| range.trunc().subnets(length).ok());
    let too_small = || refused(format!("the CIDR {cidr} is not large enough to be split into {parts} parts"));
    Ok(subnets.ok_or_else(too_small)?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cidr: &str, parts: i64) -> Result<Vec<String>, String> {
        ranges(cidr, parts)
            .map(|ranges| ranges.iter().map(IpNet::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn equal_parts() {
        let expect = ["10.244.0.0/18", "10.244.64.0/18", "10.244.128.0/18", "10.244.192.0/18"];
        assert_eq!(texts("10.244.0.0/16", 4).expect("four parts"), expect);
        assert_eq!(texts("fd00::/64", 2).expect("two parts"), ["fd00::/65", "fd00::8000:0:0:0/65"]);
        assert_eq!(texts("10.0.0.0/31", 2).expect("two parts"), ["10.0.0.0/32", "10.0.0.1/32"]);
        assert_eq!(texts("10.0.0.0/16", 64).map(|parts| parts.len()), Ok(64));
    }

    #[test]
    fn numbers_that_do_not_fit() {
        for (cidr, parts, reason) in [
            ("10.244.0.0/16", 3, "number to split CIDR into is not a valid power of 2: 3"),
            ("10.244.0.0/16", 1, "number to split CIDR into is not a valid power of 2: 1"),
            ("10.244.0.0/16", 0, "number to split CIDR into is not a valid power of 2: 0"),
            ("10.244.0.0/16", -4, "number to split CIDR into is not a valid power of 2: -4"),
            ("10.0.0.0/31", 4, "the CIDR 10.0.0.0/31 is not large enough to be split into 4 parts"),
            ("10.0.0.0/8", 128, "one split makes 64 pools at most; split the parts again"),
        ] {
            let expect = format!("error splitting the CIDR {cidr} into {parts} CIDRs: {reason}");
            assert_eq!(texts(cidr, parts), Err(expect));
        }
    }
}

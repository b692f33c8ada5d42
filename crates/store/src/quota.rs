//! How much may be added before the store has its full size.
//!
//! What counts is what is in use, not the file's length, which is up to twice as much and does not shrink by itself.
//! What is in use is learned by going through all tables; so it is bounded from above by what was found and what was
//! added since, and found anew only when the bound does not suffice.

use crate::refusal::Fault;

/// The quota, and what is known of its use.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: u64,
    /// Not less than what is in use with what has been admitted.
    bound: Option<u64>,
    /// What the group under way has been admitted to add.
    group: u64,
}

impl Quota {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, bound: None, group: 0 }
    }

    /// Begins a group, when all admitted before is in the file or refused.
    pub(crate) fn begin(&mut self) {
        self.group = 0;
    }

    /// Admits a request that adds so many bytes, or not. `file` is the file's length before the group.
    pub(crate) fn admits(
        &mut self,
        bytes: u64,
        file: u64,
        used: impl FnOnce() -> Result<u64, Fault>,
    ) -> Result<bool, Fault> {
        let fits = |there: u64| there.saturating_add(bytes) <= self.limit;
        let mut admitted = fits(file.saturating_add(self.group)) || self.bound.is_some_and(fits);
        if !admitted {
            let found = used()?.saturating_add(self.group);
            admitted = fits(found);
            self.bound = Some(found);
        }
        if admitted {
            self.group += bytes;
            self.bound = self.bound.map(|bound| bound.saturating_add(bytes));
        }
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_is_asked_for_only_when_it_matters() {
        let mut quota = Quota::new(1000);
        let never = || -> Result<u64, Fault> { panic!("not needed") };
        assert!(quota.admits(300, 500, never).unwrap(), "the file is small enough");
        assert!(!quota.admits(300, 500, || Ok(500)).unwrap(), "not with what the group has already");
        quota.begin();
        assert!(quota.admits(300, 1600, || Ok(400)).unwrap(), "the file is large, its use is not");
        assert!(quota.admits(300, 1600, never).unwrap(), "700 and 300");
        quota.begin();
        assert!(quota.admits(100, 1600, || Ok(600)).unwrap(), "the bound was too high");
        assert!(quota.admits(300, 1600, never).unwrap());
        assert!(!quota.admits(1, 1600, || Ok(600)).unwrap(), "600 and 400 are all");
    }
}

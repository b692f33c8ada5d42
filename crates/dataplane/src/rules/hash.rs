//! The hash comments that mark each rule as ours and as unchanged.
//!
//! Calico's scheme: a chain's hash starts as SHA-224 of its name; each rule's is SHA-224 of the hash before it
//! and the rule's text. A change in one rule therefore shows in every comment after it. The comment is
//! [`PREFIX`] and the first sixteen characters of the hash in unpadded base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha224};

/// What every hash comment starts with.
pub(super) const PREFIX: &str = "cali:";

/// Added to a kernel chain's name for the rules appended to it, whose hashes are a chain of their own.
pub(super) const APPENDS: &str = "*appends*";

const LENGTH: usize = 16;

/// The longest text of a comment.
const COMMENT: usize = 256;

/// Makes a comment of a text: what iptables could misread becomes `_`, and too long a text is cut.
pub(super) fn comment(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_ @%+=:,./-".contains(c);
    text.chars().map(|c| if harmless(c) { c } else { '_' }).take(COMMENT).collect()
}

/// Hashes the rules of one chain, in order.
pub(super) fn chain<T: AsRef<str>>(name: &str, rules: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut state = Sha224::digest(name);
    let mut hashes = Vec::new();
    for rule in rules {
        state = Sha224::new().chain_update(state).chain_update(rule.as_ref()).finalize();
        let mut text = URL_SAFE_NO_PAD.encode(state);
        text.truncate(LENGTH);
        hashes.push(text);
    }
    hashes
}

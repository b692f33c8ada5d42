//! The expressions that rules are made of in the kernel: written, and read back for comparison.
//!
//! What is read and is not exactly one of the shapes that we write becomes [`Expression::Other`], which equals
//! nothing of ours: a rule changed by hand cannot pass for right.

use super::abi::{expression as abi, rule};
use super::wire::{Attributes, Parsed, iterate};
use crate::rules::rule::Sense;

/// One step of a rule. Values travel through one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads a piece of the packet's metadata.
    Meta(u32),
    /// Sets a piece of the packet's metadata to what was loaded.
    SetMeta(u32),
    /// Loads what connection tracking knows.
    Tracking(u32),
    /// Loads octets of a header.
    Payload { base: u32, offset: u32, length: u32 },
    /// Loads what routing says of an address; the flags say of which, and where.
    Routing { result: u32, flags: u32 },
    /// Keeps the bits of a mask, then turns some.
    Bitwise { mask: Vec<u8>, turned: Vec<u8> },
    /// Goes on only if what was loaded is, or is not, the given value.
    Compare(Sense, Vec<u8>),
    /// Goes on only if what was loaded is, or is not, in a set.
    Lookup(Sense, String),
    /// Takes the verdict that a map has for what was loaded, if any.
    VerdictOf(String),
    /// Counts.
    Counter,
    /// Loads a constant.
    Load(Vec<u8>),
    /// Ends the rule with a verdict, and the chain it names.
    Verdict(i32, Option<String>),
    /// Masquerades.
    Masquerade(u32),
    /// Translates the source to what was loaded.
    SourceNat(u32),
    /// Anything else, by the kernel's name for it.
    Other(String),
}

impl Expression {
    /// Encodes the list of a rule's expressions.
    pub(super) fn encode_all(expressions: &[Expression]) -> Attributes {
        expressions.iter().fold(Attributes::default(), |list, expression| {
            let (name, data) = expression.encode();
            let one = Attributes::default().text(rule::EXPRESSION_NAME, name).nest(rule::EXPRESSION_DATA, &data);
            list.nest(rule::LIST_ELEMENT, &one)
        })
    }

    /// Decodes the list of a rule's expressions.
    pub(super) fn decode_all(bytes: &[u8]) -> Vec<Expression> {
        named(bytes)
            .map(|(name, data)| {
                let decoded = Expression::decode(&name, &data);
                decoded.unwrap_or(Expression::Other(name))
            })
            .collect()
    }

    fn encode(&self) -> (&str, Attributes) {
        let a = Attributes::default();
        let value = |bytes: &[u8]| Attributes::default().raw(abi::DATA_VALUE, bytes);
        match self {
            Expression::Meta(key) => ("meta", a.number(abi::META_REGISTER, abi::REGISTER).number(abi::META_KEY, *key)),
            Expression::SetMeta(key) => {
                ("meta", a.number(abi::META_KEY, *key).number(abi::META_SOURCE_REGISTER, abi::REGISTER))
            }
            Expression::Tracking(key) => {
                ("ct", a.number(abi::TRACKING_REGISTER, abi::REGISTER).number(abi::TRACKING_KEY, *key))
            }
            Expression::Payload { base, offset, length } => (
                "payload",
                a.number(abi::PAYLOAD_REGISTER, abi::REGISTER)
                    .number(abi::PAYLOAD_BASE, *base)
                    .number(abi::PAYLOAD_OFFSET, *offset)
                    .number(abi::PAYLOAD_LENGTH, *length),
            ),
            Expression::Routing { result, flags } => (
                "fib",
                a.number(abi::FIB_REGISTER, abi::REGISTER)
                    .number(abi::FIB_RESULT, *result)
                    .number(abi::FIB_FLAGS, *flags),
            ),
            Expression::Bitwise { mask, turned } => (
                "bitwise",
                a.number(abi::BITWISE_SOURCE, abi::REGISTER)
                    .number(abi::BITWISE_REGISTER, abi::REGISTER)
                    .number(abi::BITWISE_LENGTH, u32::try_from(mask.len()).expect("at most an address"))
                    .nest(abi::BITWISE_MASK, &value(mask))
                    .nest(abi::BITWISE_XOR, &value(turned)),
            ),
            Expression::Compare(sense, data) => (
                "cmp",
                a.number(abi::COMPARE_REGISTER, abi::REGISTER)
                    .number(abi::COMPARE_OPERATION, operation(*sense))
                    .nest(abi::COMPARE_DATA, &value(data)),
            ),
            Expression::Lookup(sense, set) => (
                "lookup",
                a.text(abi::LOOKUP_SET, set)
                    .number(abi::LOOKUP_REGISTER, abi::REGISTER)
                    .number(abi::LOOKUP_FLAGS, lookup_flags(*sense)),
            ),
            Expression::VerdictOf(map) => (
                "lookup",
                a.text(abi::LOOKUP_SET, map)
                    .number(abi::LOOKUP_REGISTER, abi::REGISTER)
                    .number(abi::LOOKUP_TARGET, abi::VERDICT_REGISTER),
            ),
            Expression::Counter => ("counter", a.long(abi::COUNTER_BYTES, 0).long(abi::COUNTER_PACKETS, 0)),
            Expression::Load(data) => {
                ("immediate", a.number(abi::IMMEDIATE_REGISTER, abi::REGISTER).nest(abi::IMMEDIATE_DATA, &value(data)))
            }
            Expression::Verdict(code, chain) => {
                let mut verdict = Attributes::default().number(abi::VERDICT_CODE, code.cast_unsigned());
                if let Some(chain) = chain {
                    verdict = verdict.text(abi::VERDICT_CHAIN, chain);
                }
                let data = Attributes::default().nest(abi::DATA_VERDICT, &verdict);
                ("immediate", a.number(abi::IMMEDIATE_REGISTER, abi::VERDICT_REGISTER).nest(abi::IMMEDIATE_DATA, &data))
            }
            Expression::Masquerade(flags) => ("masq", a.number(abi::MASQUERADE_FLAGS, *flags)),
            Expression::SourceNat(flags) => (
                "nat",
                a.number(abi::NAT_TYPE, abi::NAT_SOURCE)
                    .number(abi::NAT_FAMILY, u32::from(super::abi::IPV4))
                    .number(abi::NAT_ADDRESS_MIN, abi::REGISTER)
                    .number(abi::NAT_FLAGS, *flags),
            ),
            Expression::Other(name) => (name, a),
        }
    }

    fn decode(name: &str, data: &Parsed<'_>) -> Option<Expression> {
        let uses_register = |kind| data.number(kind) == Some(abi::REGISTER);
        match name {
            "meta" if uses_register(abi::META_REGISTER) => Some(Expression::Meta(data.number(abi::META_KEY)?)),
            "meta" if uses_register(abi::META_SOURCE_REGISTER) => {
                Some(Expression::SetMeta(data.number(abi::META_KEY)?))
            }
            "ct" if uses_register(abi::TRACKING_REGISTER)
                && data.only(&[abi::TRACKING_REGISTER, abi::TRACKING_KEY]) =>
            {
                Some(Expression::Tracking(data.number(abi::TRACKING_KEY)?))
            }
            "payload" if uses_register(abi::PAYLOAD_REGISTER) => Some(Expression::Payload {
                base: data.number(abi::PAYLOAD_BASE)?,
                offset: data.number(abi::PAYLOAD_OFFSET)?,
                length: data.number(abi::PAYLOAD_LENGTH)?,
            }),
            "fib" if uses_register(abi::FIB_REGISTER) => {
                let (result, flags) = (data.number(abi::FIB_RESULT)?, data.number(abi::FIB_FLAGS)?);
                Some(Expression::Routing { result, flags })
            }
            "bitwise"
                if uses_register(abi::BITWISE_SOURCE)
                    && uses_register(abi::BITWISE_REGISTER)
                    && data.number(abi::BITWISE_OPERATION).unwrap_or(0) == 0 =>
            {
                let bytes = |kind| Some(data.nest(kind)?.raw(abi::DATA_VALUE)?.to_vec());
                Some(Expression::Bitwise { mask: bytes(abi::BITWISE_MASK)?, turned: bytes(abi::BITWISE_XOR)? })
            }
            "cmp" if uses_register(abi::COMPARE_REGISTER) => {
                let senses = [Sense::Is, Sense::IsNot];
                let found = data.number(abi::COMPARE_OPERATION)?;
                let sense = senses.into_iter().find(|sense| operation(*sense) == found)?;
                let value = data.nest(abi::COMPARE_DATA)?.raw(abi::DATA_VALUE)?;
                Some(Expression::Compare(sense, value.to_vec()))
            }
            "lookup"
                if uses_register(abi::LOOKUP_REGISTER)
                    && data.only(&[abi::LOOKUP_SET, abi::LOOKUP_REGISTER, abi::LOOKUP_FLAGS]) =>
            {
                let inverted = data.number(abi::LOOKUP_FLAGS).unwrap_or(0) == abi::LOOKUP_INVERT;
                let sense = if inverted { Sense::IsNot } else { Sense::Is };
                Some(Expression::Lookup(sense, data.text(abi::LOOKUP_SET)?))
            }
            "lookup"
                if uses_register(abi::LOOKUP_REGISTER)
                    && data.number(abi::LOOKUP_TARGET) == Some(abi::VERDICT_REGISTER)
                    && data.number(abi::LOOKUP_FLAGS).unwrap_or(0) == 0 =>
            {
                Some(Expression::VerdictOf(data.text(abi::LOOKUP_SET)?))
            }
            "counter" => Some(Expression::Counter),
            "immediate" => {
                let content = data.nest(abi::IMMEDIATE_DATA)?;
                match data.number(abi::IMMEDIATE_REGISTER)? {
                    abi::VERDICT_REGISTER => {
                        let verdict = content.nest(abi::DATA_VERDICT)?;
                        let code = verdict.number(abi::VERDICT_CODE)?.cast_signed();
                        Some(Expression::Verdict(code, verdict.text(abi::VERDICT_CHAIN)))
                    }
                    abi::REGISTER => Some(Expression::Load(content.raw(abi::DATA_VALUE)?.to_vec())),
                    _ => None,
                }
            }
            "masq" if data.only(&[abi::MASQUERADE_FLAGS]) => {
                Some(Expression::Masquerade(data.number(abi::MASQUERADE_FLAGS).unwrap_or(0)))
            }
            "nat"
                if data.number(abi::NAT_TYPE) == Some(abi::NAT_SOURCE)
                    && uses_register(abi::NAT_ADDRESS_MIN)
                    && data.number(abi::NAT_ADDRESS_MAX).is_none_or(|register| register == abi::REGISTER)
                    && data.only(&[
                        abi::NAT_TYPE,
                        abi::NAT_FAMILY,
                        abi::NAT_ADDRESS_MIN,
                        abi::NAT_ADDRESS_MAX,
                        abi::NAT_FLAGS,
                    ]) =>
            {
                Some(Expression::SourceNat(data.number(abi::NAT_FLAGS).unwrap_or(0)))
            }
            _ => None,
        }
    }
}

fn operation(sense: Sense) -> u32 {
    match sense {
        Sense::Is => abi::COMPARE_EQUAL,
        Sense::IsNot => abi::COMPARE_UNEQUAL,
    }
}

fn lookup_flags(sense: Sense) -> u32 {
    match sense {
        Sense::Is => 0,
        Sense::IsNot => abi::LOOKUP_INVERT,
    }
}

/// The expressions of a rule by name, with their attributes.
fn named(bytes: &[u8]) -> impl Iterator<Item = (String, Parsed<'_>)> {
    iterate(bytes).filter_map(|(_, one)| {
        let one = Parsed::new(one);
        Some((one.text(rule::EXPRESSION_NAME)?, one.nest(rule::EXPRESSION_DATA).unwrap_or(Parsed::new(&[]))))
    })
}

/// The comment of a rule that `iptables-nft` wrote, where it is a match of its own.
pub(super) fn xt_comment(bytes: &[u8]) -> Option<String> {
    named(bytes).find_map(|(name, data)| {
        let is_comment = name == "match" && data.text(abi::XT_MATCH_NAME).as_deref() == Some("comment");
        is_comment.then(|| data.raw(abi::XT_MATCH_CONTENT).and_then(super::wire::text)).flatten()
    })
}

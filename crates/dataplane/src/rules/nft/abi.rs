//! Numbers of the kernel's nfnetlink interfaces, as far as they are used (`linux/netfilter/nfnetlink.h`,
//! `nf_tables.h`, `ipset/ip_set.h`).

/// Address families of tables and sets.
pub(super) const IPV4: u8 = 2;
pub(super) const ARP: u8 = 3;
pub(super) const IPV6: u8 = 10;

/// nfnetlink subsystems: the high byte of a message's type.
pub(super) mod subsystem {
    pub(in super::super) const IPSET: u8 = 6;
    pub(in super::super) const NFTABLES: u8 = 10;
}

/// Message types that belong to no subsystem, and the attribute of a batch's first message.
pub(super) mod batch {
    pub(in super::super) const BEGIN: u16 = 0x10;
    pub(in super::super) const END: u16 = 0x11;
    pub(in super::super) const GENERATION: u16 = 1;
}

/// Messages of nftables.
pub(super) mod message {
    pub(in super::super) const NEW_TABLE: u8 = 0;
    pub(in super::super) const GET_TABLE: u8 = 1;
    pub(in super::super) const DEL_TABLE: u8 = 2;
    pub(in super::super) const NEW_CHAIN: u8 = 3;
    pub(in super::super) const GET_CHAIN: u8 = 4;
    pub(in super::super) const DEL_CHAIN: u8 = 5;
    pub(in super::super) const NEW_RULE: u8 = 6;
    pub(in super::super) const GET_RULE: u8 = 7;
    pub(in super::super) const DEL_RULE: u8 = 8;
    pub(in super::super) const NEW_SET: u8 = 9;
    pub(in super::super) const GET_SET: u8 = 10;
    pub(in super::super) const DEL_SET: u8 = 11;
    pub(in super::super) const NEW_ELEMENTS: u8 = 12;
    pub(in super::super) const GET_ELEMENTS: u8 = 13;
    pub(in super::super) const DEL_ELEMENTS: u8 = 14;
    pub(in super::super) const NEW_GENERATION: u8 = 15;
    pub(in super::super) const GET_GENERATION: u8 = 16;
}

/// Attributes of the ruleset's generation, asked for or announced.
pub(super) mod generation {
    pub(in super::super) const ID: u16 = 1;
}

/// Attributes of tables.
pub(super) mod table {
    pub(in super::super) const NAME: u16 = 1;
    pub(in super::super) const FLAGS: u16 = 2;
}

/// Attributes of chains and of their hooks.
pub(super) mod chain {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const NAME: u16 = 3;
    pub(in super::super) const HOOK: u16 = 4;
    pub(in super::super) const POLICY: u16 = 5;
    pub(in super::super) const TYPE: u16 = 7;
    pub(in super::super) const HOOK_NUMBER: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;
}

/// Attributes of rules, of their expressions, and the type of a comment in a rule's user data.
pub(super) mod rule {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const CHAIN: u16 = 2;
    pub(in super::super) const HANDLE: u16 = 3;
    pub(in super::super) const EXPRESSIONS: u16 = 4;
    pub(in super::super) const USER_DATA: u16 = 7;
    pub(in super::super) const LIST_ELEMENT: u16 = 1;
    pub(in super::super) const EXPRESSION_NAME: u16 = 1;
    pub(in super::super) const EXPRESSION_DATA: u16 = 2;
    pub(in super::super) const COMMENT: u8 = 0;
}

/// Attributes and flags of sets.
pub(super) mod set {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const NAME: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const KEY_TYPE: u16 = 4;
    pub(in super::super) const KEY_LENGTH: u16 = 5;
    pub(in super::super) const ID: u16 = 10;
    pub(in super::super) const ANONYMOUS: u32 = 1;
    pub(in super::super) const INTERVAL: u32 = 4;
    /// nft's own number for `ipv4_addr`; the kernel only stores it.
    pub(in super::super) const IPV4_ADDRESS: u32 = 7;
}

/// Attributes and flags of set elements and of lists of them.
pub(super) mod element {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const SET: u16 = 2;
    pub(in super::super) const LIST: u16 = 3;
    pub(in super::super) const KEY: u16 = 1;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const INTERVAL_END: u32 = 1;
}

/// Attributes and values of expressions.
pub(super) mod expression {
    /// The register that holds a verdict.
    pub(in super::super) const VERDICT_REGISTER: u32 = 0;
    /// The one register that our rules need.
    pub(in super::super) const REGISTER: u32 = 1;

    pub(in super::super) const DATA_VALUE: u16 = 1;
    pub(in super::super) const DATA_VERDICT: u16 = 2;
    pub(in super::super) const VERDICT_CODE: u16 = 1;
    pub(in super::super) const VERDICT_CHAIN: u16 = 2;
    pub(in super::super) const JUMP: i32 = -3;

    pub(in super::super) const META_REGISTER: u16 = 1;
    pub(in super::super) const META_KEY: u16 = 2;
    pub(in super::super) const META_OUT_INTERFACE_NAME: u32 = 7;

    pub(in super::super) const PAYLOAD_REGISTER: u16 = 1;
    pub(in super::super) const PAYLOAD_BASE: u16 = 2;
    pub(in super::super) const PAYLOAD_OFFSET: u16 = 3;
    pub(in super::super) const PAYLOAD_LENGTH: u16 = 4;
    pub(in super::super) const PAYLOAD_NETWORK_HEADER: u32 = 1;

    pub(in super::super) const COMPARE_REGISTER: u16 = 1;
    pub(in super::super) const COMPARE_OPERATION: u16 = 2;
    pub(in super::super) const COMPARE_DATA: u16 = 3;
    pub(in super::super) const COMPARE_EQUAL: u32 = 0;
    pub(in super::super) const COMPARE_UNEQUAL: u32 = 1;

    pub(in super::super) const LOOKUP_SET: u16 = 1;
    pub(in super::super) const LOOKUP_REGISTER: u16 = 2;
    pub(in super::super) const LOOKUP_FLAGS: u16 = 5;
    pub(in super::super) const LOOKUP_INVERT: u32 = 1;

    pub(in super::super) const FIB_REGISTER: u16 = 1;
    pub(in super::super) const FIB_RESULT: u16 = 2;
    pub(in super::super) const FIB_FLAGS: u16 = 3;
    pub(in super::super) const FIB_ADDRESS_TYPE: u32 = 3;
    pub(in super::super) const FIB_SOURCE: u32 = 1;
    pub(in super::super) const FIB_DESTINATION: u32 = 2;
    pub(in super::super) const FIB_OUT_INTERFACE: u32 = 16;
    /// `RTN_LOCAL`.
    pub(in super::super) const FIB_LOCAL: u32 = 2;

    pub(in super::super) const COUNTER_BYTES: u16 = 1;
    pub(in super::super) const COUNTER_PACKETS: u16 = 2;

    pub(in super::super) const IMMEDIATE_REGISTER: u16 = 1;
    pub(in super::super) const IMMEDIATE_DATA: u16 = 2;

    pub(in super::super) const MASQUERADE_FLAGS: u16 = 1;

    pub(in super::super) const NAT_TYPE: u16 = 1;
    pub(in super::super) const NAT_FAMILY: u16 = 2;
    pub(in super::super) const NAT_ADDRESS_MIN: u16 = 3;
    pub(in super::super) const NAT_ADDRESS_MAX: u16 = 4;
    pub(in super::super) const NAT_FLAGS: u16 = 7;
    pub(in super::super) const NAT_SOURCE: u32 = 0;
    pub(in super::super) const NAT_MAP_ADDRESSES: u32 = 1;
    pub(in super::super) const NAT_FULLY_RANDOM: u32 = 16;

    pub(in super::super) const XT_MATCH_NAME: u16 = 1;
    pub(in super::super) const XT_MATCH_CONTENT: u16 = 3;
}

/// Commands, attributes and flags of ipset.
pub(super) mod ipset {
    pub(in super::super) const DESTROY: u8 = 3;
    pub(in super::super) const LIST: u8 = 7;
    pub(in super::super) const PROTOCOL: u16 = 1;
    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 6;
    /// The oldest protocol that every kernel since 2.6.39 understands.
    pub(in super::super) const PROTOCOL_VERSION: u8 = 6;
    pub(in super::super) const NAMES_ONLY: u32 = 1 << 1;
}

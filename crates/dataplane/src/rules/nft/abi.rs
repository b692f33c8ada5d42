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
    pub(in super::super) const DATA_TYPE: u16 = 6;
    pub(in super::super) const ID: u16 = 10;
    pub(in super::super) const USER_DATA: u16 = 13;
    pub(in super::super) const ANONYMOUS: u32 = 1;
    pub(in super::super) const INTERVAL: u32 = 4;
    pub(in super::super) const MAP: u32 = 8;
    /// nft's own numbers for `ipv4_addr`, `ipv6_addr` and `ifname`; the kernel only stores them.
    pub(in super::super) const IPV4_ADDRESS: u32 = 7;
    pub(in super::super) const IPV6_ADDRESS: u32 = 8;
    pub(in super::super) const LINK_NAME: u32 = 41;
    /// What nft keeps with a set whose keys are in the machine's order of octets, and could not print without.
    pub(in super::super) const KEYS_IN_HOST_ORDER: [u8; 6] = {
        let order = 1_u32.to_ne_bytes();
        [0, 4, order[0], order[1], order[2], order[3]]
    };
    /// The type of a map's values that are verdicts.
    pub(in super::super) const VERDICT: u32 = 0xffff_ff00;
}

/// Attributes and flags of set elements and of lists of them.
pub(super) mod element {
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const SET: u16 = 2;
    pub(in super::super) const LIST: u16 = 3;
    pub(in super::super) const KEY: u16 = 1;
    pub(in super::super) const DATA: u16 = 2;
    pub(in super::super) const FLAGS: u16 = 3;
    pub(in super::super) const INTERVAL_END: u32 = 1;
}

/// Attributes and values of expressions.
pub(super) mod expression {
    /// The register that holds a verdict.
    pub(in super::super) const VERDICT_REGISTER: u32 = 0;
    /// The one register for values that our rules need.
    pub(in super::super) const REGISTER: u32 = 1;

    pub(in super::super) const DATA_VALUE: u16 = 1;
    pub(in super::super) const DATA_VERDICT: u16 = 2;
    pub(in super::super) const VERDICT_CODE: u16 = 1;
    pub(in super::super) const VERDICT_CHAIN: u16 = 2;
    pub(in super::super) const DROP: i32 = 0;
    pub(in super::super) const ACCEPT: i32 = 1;
    pub(in super::super) const JUMP: i32 = -3;
    pub(in super::super) const GOTO: i32 = -4;
    pub(in super::super) const RETURN: i32 = -5;

    pub(in super::super) const META_REGISTER: u16 = 1;
    pub(in super::super) const META_KEY: u16 = 2;
    pub(in super::super) const META_SOURCE_REGISTER: u16 = 3;
    pub(in super::super) const META_MARK: u32 = 3;
    pub(in super::super) const META_IN_INTERFACE_NAME: u32 = 6;
    pub(in super::super) const META_OUT_INTERFACE_NAME: u32 = 7;
    pub(in super::super) const META_PROTOCOL: u32 = 16;

    pub(in super::super) const PAYLOAD_REGISTER: u16 = 1;
    pub(in super::super) const PAYLOAD_BASE: u16 = 2;
    pub(in super::super) const PAYLOAD_OFFSET: u16 = 3;
    pub(in super::super) const PAYLOAD_LENGTH: u16 = 4;
    pub(in super::super) const PAYLOAD_NETWORK_HEADER: u32 = 1;
    pub(in super::super) const PAYLOAD_TRANSPORT_HEADER: u32 = 2;

    pub(in super::super) const BITWISE_SOURCE: u16 = 1;
    pub(in super::super) const BITWISE_REGISTER: u16 = 2;
    pub(in super::super) const BITWISE_LENGTH: u16 = 3;
    pub(in super::super) const BITWISE_MASK: u16 = 4;
    pub(in super::super) const BITWISE_XOR: u16 = 5;
    pub(in super::super) const BITWISE_OPERATION: u16 = 6;

    pub(in super::super) const TRACKING_REGISTER: u16 = 1;
    pub(in super::super) const TRACKING_KEY: u16 = 2;
    pub(in super::super) const TRACKING_STATE: u32 = 0;
    pub(in super::super) const TRACKING_STATUS: u32 = 2;
    pub(in super::super) const STATE_INVALID: u32 = 1;
    pub(in super::super) const STATE_ESTABLISHED: u32 = 2;
    pub(in super::super) const STATE_RELATED: u32 = 4;
    /// `IPS_DST_NAT`.
    pub(in super::super) const STATUS_DESTINATION_TRANSLATED: u32 = 32;

    pub(in super::super) const COMPARE_REGISTER: u16 = 1;
    pub(in super::super) const COMPARE_OPERATION: u16 = 2;
    pub(in super::super) const COMPARE_DATA: u16 = 3;
    pub(in super::super) const COMPARE_EQUAL: u32 = 0;
    pub(in super::super) const COMPARE_UNEQUAL: u32 = 1;

    pub(in super::super) const LOOKUP_SET: u16 = 1;
    pub(in super::super) const LOOKUP_REGISTER: u16 = 2;
    pub(in super::super) const LOOKUP_TARGET: u16 = 3;
    pub(in super::super) const LOOKUP_FLAGS: u16 = 5;
    pub(in super::super) const LOOKUP_INVERT: u32 = 1;

    pub(in super::super) const FIB_REGISTER: u16 = 1;
    pub(in super::super) const FIB_RESULT: u16 = 2;
    pub(in super::super) const FIB_FLAGS: u16 = 3;
    pub(in super::super) const FIB_LINK: u32 = 1;
    pub(in super::super) const FIB_ADDRESS_TYPE: u32 = 3;
    pub(in super::super) const FIB_SOURCE: u32 = 1;
    pub(in super::super) const FIB_DESTINATION: u32 = 2;
    pub(in super::super) const FIB_MARK: u32 = 4;
    pub(in super::super) const FIB_IN_INTERFACE: u32 = 8;
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

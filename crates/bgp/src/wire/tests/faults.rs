//! What each mistake is answered with.

use super::*;
use crate::wire::update::{Fault, Remedy};

const EXTERNAL: Context = Context { as_width: AsWidth::Four, peer: PeerType::External };

#[test]
fn headers() {
    // RFC 4271 §6.1
    for (bytes, reason, data) in [
        ("fffffffffffffffffffffffffffffffe 0013 04", Reason::NOT_SYNCHRONIZED, ""),
        ("474554202f20", Reason::NOT_SYNCHRONIZED, ""),
        ("ffffffffffffffffffffffffffffffff 0012 04", Reason::BAD_MESSAGE_LENGTH, "0012"),
        ("ffffffffffffffffffffffffffffffff 1001 02", Reason::BAD_MESSAGE_LENGTH, "1001"),
        ("ffffffffffffffffffffffffffffffff 0014 04", Reason::BAD_MESSAGE_LENGTH, "0014"),
        ("ffffffffffffffffffffffffffffffff 001c 01", Reason::BAD_MESSAGE_LENGTH, "001c"),
        ("ffffffffffffffffffffffffffffffff 0016 02", Reason::BAD_MESSAGE_LENGTH, "0016"),
        ("ffffffffffffffffffffffffffffffff 0014 03", Reason::BAD_MESSAGE_LENGTH, "0014"),
        ("ffffffffffffffffffffffffffffffff 0013 06", Reason::BAD_MESSAGE_TYPE, "06"),
        ("ffffffffffffffffffffffffffffffff 0013 00", Reason::BAD_MESSAGE_TYPE, "00"),
    ] {
        assert_eq!(Frame::next(&hex(bytes)), Err(reason.with(hex(data))), "{bytes}");
    }
}

#[test]
fn opens() {
    // RFC 4271 §6.2, RFC 5492 §5, RFC 6793 §4.2.1
    for (body, reason, data) in [
        ("03 fc00 00b4 0a000001 00", Reason::UNSUPPORTED_VERSION, "0004"),
        ("04 0000 00b4 0a000001 00", Reason::BAD_PEER_AS, ""),
        ("04 fc00 0001 0a000001 00", Reason::UNACCEPTABLE_HOLD_TIME, ""),
        ("04 fc00 0002 0a000001 00", Reason::UNACCEPTABLE_HOLD_TIME, ""),
        ("04 fc00 00b4 00000000 00", Reason::BAD_BGP_IDENTIFIER, ""),
        ("04 fc00 00b4 0a000001 03 01 01 00", Reason::UNSUPPORTED_PARAMETER, ""),
        ("04 fc00 00b4 0a000001 01 02", Reason::OPEN_UNSPECIFIC, ""),
        ("04 fc00 00b4 0a000001 04 02 03 02 00", Reason::OPEN_UNSPECIFIC, ""),
        ("04 fc00 00b4 0a000001 04 02 02 02 01", Reason::OPEN_UNSPECIFIC, ""),
        ("04 fc00 00b4 0a000001 09", Reason::OPEN_UNSPECIFIC, ""),
        ("04 fc00 00b4 0a000001 00 00", Reason::OPEN_UNSPECIFIC, ""),
        ("04 fc00 00b4 0a000001 08 02 06 41 04 00000000", Reason::BAD_PEER_AS, ""),
    ] {
        let expect = Err(UpdateError::Reset(reason.with(hex(data))));
        assert_eq!(decode(&framed(1, body), INTERNAL), expect, "{body}");
    }
    // a hold time of zero is allowed
    assert!(decode(&framed(1, "04 fc00 0000 0a000001 00"), INTERNAL).is_ok());
}

#[test]
fn route_refreshes() {
    // RFC 7313 §5
    let expect = Err(UpdateError::Reset(Reason::ROUTE_REFRESH_LENGTH.with(hex("000100"))));
    assert_eq!(decode(&framed(5, "0001 00"), INTERNAL), expect);
}

#[test]
fn updates_that_reset_the_session() {
    for (body, reason, data) in [
        // the lists overrun the message
        ("0005 18 ac1001", Reason::MALFORMED_ATTRIBUTE_LIST, ""),
        ("0000 0004 40 01 01", Reason::MALFORMED_ATTRIBUTE_LIST, ""),
        // destinations that cannot be told apart
        ("0002 21 0a 0000", Reason::INVALID_NETWORK, ""),
        ("0000 0000 18 ac10", Reason::INVALID_NETWORK, ""),
        ("0000 0000 21 ac100101 01", Reason::INVALID_NETWORK, ""),
        ("0000 0009 80 0f 06 0001 01 18 ac10", Reason::INVALID_NETWORK, ""),
        // MP_REACH_NLRI: next hop length, twice
        ("0000 0009 80 0e 06 0001 01 05 0a00", Reason::OPTIONAL_ATTRIBUTE, "80 0e 06 0001 01 05 0a00"),
        ("0000 0007 80 0e 04 0001 01 04", Reason::OPTIONAL_ATTRIBUTE, "80 0e 04 0001 01 04"),
        ("0000 0005 80 0f 02 0001", Reason::OPTIONAL_ATTRIBUTE, "80 0f 02 0001"),
        ("0000 000c 80 0f 03 0001 01 80 0f 03 0001 01", Reason::MALFORMED_ATTRIBUTE_LIST, ""),
        // a well-known attribute nobody knows
        ("0000 0004 40 63 01 07", Reason::UNRECOGNIZED_WELL_KNOWN, "40 63 01 07"),
    ] {
        let expect = Err(UpdateError::Reset(reason.with(hex(data))));
        assert_eq!(decode(&framed(2, body), INTERNAL), expect, "{body}");
    }
}

/// Makes an UPDATE that withdraws 10.0.0.0/8 and announces 172.16.1.0/24 with attributes: right ones for all
/// but those given.
fn update_with(given: &str) -> Vec<u8> {
    let given = hex(given);
    let mut list = given.clone();
    for right in ["40 01 01 00", "40 02 00", "40 03 04 0a000001"] {
        let right = hex(right);
        if given.get(1) != Some(&right[1]) {
            list.extend(right);
        }
    }
    let list: String = list.iter().map(|octet| format!("{octet:02x}")).collect();
    framed(2, &format!("0002 080a {:04x} {list} 18 ac1001", list.len() / 2))
}

#[test]
fn updates_treated_as_withdrawn() {
    // RFC 7606 §§3, 4, 7; RFC 8092 §6
    for (code, attribute) in [
        (1, "40 01 01 03"),
        (1, "40 01 02 0000"),
        (1, "c0 01 01 00"),
        (2, "40 02 02 02 01"),
        (2, "40 02 02 02 00"),
        (2, "40 02 06 03 01 00000001"),
        (2, "40 02 01 02"),
        (3, "40 03 03 0a0000"),
        (4, "80 04 03 000001"),
        (4, "c0 04 04 00000001"),
        (5, "40 05 05 0000000064"),
        (8, "c0 08 00"),
        (8, "c0 08 03 ffffff"),
        (9, "80 09 03 0a0000"),
        (10, "80 0a 00"),
        (10, "80 0a 05 0a00000101"),
        (16, "c0 10 07 00020001000001"),
        (32, "c0 20 0b 0000000100000002000003"),
    ] {
        let result = decode(&update_with(attribute), INTERNAL);
        let Err(UpdateError::TreatAsWithdraw { routes, fault }) = result else { panic!("{attribute}: {result:?}") };
        assert_eq!((fault.code, fault.remedy), (code, Remedy::TreatAsWithdraw), "{attribute}");
        assert_eq!(routes, [net("10.0.0.0/8").into(), net("172.16.1.0/24").into()], "{attribute}");
    }
    for (code, list) in [
        (1, "40 02 00 40 03 04 0a000001"),
        (2, "40 01 01 00 40 03 04 0a000001"),
        (3, "40 01 01 00 40 02 00"),
        // an attribute that overruns the list
        (0, "40 01 01 00 40 02 00 40 03 05 0a000001"),
        (0, "40 01 01 00 40 02 00 40"),
    ] {
        let bytes = framed(2, &format!("0000 {:04x} {list} 18 ac1001", hex(list).len()));
        let result = decode(&bytes, INTERNAL);
        let Err(UpdateError::TreatAsWithdraw { fault, .. }) = result else { panic!("{list}: {result:?}") };
        assert_eq!(fault.code, code, "{list}");
    }
}

#[test]
fn attributes_discarded() {
    for (code, context, attribute) in [
        (6, INTERNAL, "40 06 01 00"),
        (7, INTERNAL, "c0 07 06 fde9 0a000001"),
        (7, TWO_OCTET, "c0 07 08 0000fde9 0a000001"),
        (5, EXTERNAL, "40 05 04 00000064"),
        (5, EXTERNAL, "40 05 01 00"),
        (9, EXTERNAL, "80 09 04 0a000001"),
        (10, EXTERNAL, "80 0a 04 0a000001"),
        (17, INTERNAL, "c0 11 06 02 01 00000001"),
        (17, TWO_OCTET, "c0 11 03 02 01 00"),
        (18, TWO_OCTET, "c0 12 07 00000001 0a0000"),
    ] {
        let result = decode(&update_with(attribute), context);
        let Ok(Message::Update(update)) = result else { panic!("{attribute}: {result:?}") };
        assert_eq!(update.attributes, Some(Attributes::local(Ipv4Addr::new(10, 0, 0, 1))), "{attribute}");
        let codes: Vec<_> = update.discarded.iter().map(|Fault { code, remedy, .. }| (*code, *remedy)).collect();
        assert_eq!(codes, [(code, Remedy::Discard)], "{attribute}");
    }
    // a repeated attribute: the first counts
    let result = decode(&update_with("80 04 04 00000001 80 04 04 00000002"), INTERNAL);
    let Ok(Message::Update(update)) = result else { panic!("{result:?}") };
    assert_eq!(update.attributes.and_then(|attributes| attributes.med), Some(1));
    assert_eq!(update.discarded.len(), 1);
}

#[test]
fn unknown_optional_attributes_are_kept_if_transitive() {
    let bytes = update_with("c0 63 02 0102 80 62 01 00");
    let Ok(Message::Update(update)) = decode(&bytes, INTERNAL) else { panic!("an UPDATE") };
    let attributes = update.attributes.expect("announces");
    let codes: Vec<_> = attributes.unrecognized.iter().map(|unknown| (unknown.code, &unknown.value[..])).collect();
    assert_eq!(codes, [(0x63, &[1, 2][..])]);
    // passed on with the Partial bit (RFC 4271 §5)
    let update = Update { attributes: Some(attributes), announced: vec![net("10.0.0.0/8")], ..Update::default() };
    let bytes = Message::Update(update).encode(INTERNAL);
    assert!(bytes.windows(5).any(|window| window == hex("e0 63 02 0102")));
}

#[test]
fn families_nobody_negotiated_are_passed_over() {
    // VPNv4 with a next hop of 12 octets
    let reach = "80 0e 12 0001 80 0c 0000000000000000 0a000001 00 00";
    let Ok(Message::Update(update)) = decode(&update_with(reach), INTERNAL) else { panic!("an UPDATE") };
    assert_eq!((update.reach, update.announced.len()), (None, 1));
}

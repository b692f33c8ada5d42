use super::*;

/// A UDP packet's header with its checksum, as an encyclopedia's example of RFC 1071 has it.
const EXAMPLE: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00,
    0xc7,
];

/// The example's packet: as long as its header says.
fn example() -> Vec<u8> {
    let mut packet = EXAMPLE.to_vec();
    packet.resize(0x73, 0xab);
    packet
}

/// A packet without DF, with options and a payload that shows where it was cut.
fn packet(tos: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let length = HEADER + options.len();
    let mut packet = vec![0x40 | (length / 4) as u8, tos];
    packet.extend(((length + payload) as u16).to_be_bytes());
    packet.extend([0x12, 0x34, 0, 0, 64, 17, 0, 0, 172, 16, 1, 2, 172, 16, 2, 2]);
    packet.extend(options);
    seal(&mut packet);
    packet.extend((0..payload).map(|at| (at / 8) as u8));
    packet
}

fn outer(tos: u8, inner: &[u8]) -> Vec<u8> {
    let mut outer = packet(tos, &[], 0);
    outer[9] = 4;
    outer.extend(inner);
    outer
}

#[test]
fn a_sound_inner_packet_comes_out_as_it_went_in() {
    assert_eq!(inner_packet(&outer(0, &example())), Some(example()));
    let with_options = packet(0, &[0x94, 4, 0, 0], 40);
    assert_eq!(inner_packet(&outer(0, &with_options)), Some(with_options.clone()));
    let mut outer_options = packet(0, &[0x94, 4, 0, 0], 0);
    outer_options.extend(&with_options);
    assert_eq!(inner_packet(&outer_options), Some(with_options));
    let padded = [outer(0, &example()), vec![0; 9]].concat();
    assert_eq!(inner_packet(&padded), Some(example()));
}

#[test]
fn what_is_no_packet_does_not_come_out() {
    let good = outer(0, &example());
    let changed = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    for (case, packet) in [
        ("nothing", Vec::new()),
        ("half a header", good[..10].to_vec()),
        ("no inner packet", good[..20].to_vec()),
        ("half an inner header", good[..30].to_vec()),
        ("shorter than it says", good[..good.len() - 1].to_vec()),
        ("inner version 6", changed(20, 0x65)),
        ("inner header of four words", changed(20, 0x44)),
        ("a checksum that is wrong", changed(31, 0x62)),
        ("an inner length below its header's", changed(23, 19)),
    ] {
        assert_eq!(inner_packet(&packet), None, "{case}");
    }
}

/// RFC 6040 §4.2, as the decap program and the kernel apply it.
#[test]
fn congestion_is_carried_inside() {
    for (outside, inside, expect) in [
        (0x00, 0x00, Some(0x00)),
        (0x02, 0x00, Some(0x00)),
        (0x03, 0x00, None),
        (0x03, 0xb8, None),
        (0x03, 0x02, Some(0x03)),
        (0x03, 0xba, Some(0xbb)),
        (0x03, 0x01, Some(0x03)),
        (0x03, 0x03, Some(0x03)),
        (0x00, 0x03, Some(0x03)),
        (0xb8, 0x02, Some(0x02)),
    ] {
        let taken = inner_packet(&outer(outside, &packet(inside, &[], 8)));
        assert_eq!(taken.as_ref().map(|inner| inner[1]), expect, "{outside:#04x} around {inside:#04x}");
        assert!(taken.is_none_or(|inner| checksum(&inner[..20]) == 0), "{outside:#04x} around {inside:#04x}");
    }
    assert_eq!(checksum(&EXAMPLE), 0);
}

/// Returns header length, total length, offset in bytes and whether more follow, of each fragment.
fn cut(packet: Vec<u8>, mtu: usize) -> Vec<(usize, u16, u16, bool)> {
    let whole = packet.clone();
    let cut = fragments(packet, mtu);
    let payload: Vec<u8> = cut.iter().flat_map(|part| part[header_length(part).unwrap()..].to_vec()).collect();
    assert_eq!(payload, whole[header_length(&whole).unwrap()..], "together they carry what was cut");
    let shape = |part: &Vec<u8>| {
        let length = header_length(part).unwrap();
        assert_eq!(checksum(&part[..length]), 0);
        assert_eq!((&part[4..6], &part[8..10], &part[12..20]), (&whole[4..6], &whole[8..10], &whole[12..20]));
        assert_eq!(part.len(), usize::from(field(part, 2).unwrap()));
        let flags = field(part, 6).unwrap();
        (length, field(part, 2).unwrap(), (flags & OFFSET) * 8, flags & MF != 0)
    };
    cut.iter().map(shape).collect()
}

#[test]
fn a_packet_is_cut_at_eight_byte_boundaries() {
    assert_eq!(cut(packet(0, &[], 1360), 1380), [(20, 1380, 0, false)]);
    assert_eq!(cut(packet(0, &[], 1361), 1380), [(20, 1380, 0, true), (20, 21, 1360, false)]);
    assert_eq!(cut(packet(0, &[], 3000), 1399), [(20, 1396, 0, true), (20, 1396, 1376, true), (20, 268, 2752, false)]);
}

#[test]
fn a_fragment_is_cut_again_where_it_lies() {
    let mut middle = packet(0, &[], 1464);
    put(&mut middle, 6, MF | 183);
    seal(&mut middle);
    assert_eq!(cut(middle, 1380), [(20, 1380, 1464, true), (20, 124, 2824, true)]);
}

#[test]
fn later_fragments_repeat_only_options_that_ask_for_it() {
    // a filler, a route to record (7), a loose source route (0x83), the end
    let options = [1, 7, 3, 4, 0x83, 3, 4, 0];
    assert_eq!(cut(packet(0, &options, 100), 92), [(28, 92, 0, true), (24, 60, 64, false)]);
    assert_eq!(fragments(packet(0, &options, 100), 92)[1][20..24], [0x83, 3, 4, 0]);
}

#[test]
fn what_must_not_be_cut_stays_whole() {
    assert_eq!(fragments(example(), 100), [example()]);
    assert_eq!(fragments(packet(0, &[], 100), 27).len(), 1, "no room for eight bytes");
}

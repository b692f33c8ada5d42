//! A peer's octets: no stream panics the decoder, and what it accepts it can write and read again.

#![no_main]

use bgp::wire::{AsWidth, Context, Frame, MAX_MESSAGE, Message, PeerType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    for as_width in [AsWidth::Two, AsWidth::Four] {
        for peer in [PeerType::Internal, PeerType::External] {
            read(stream, Context { as_width, peer });
        }
    }
});

fn read(mut stream: &[u8], context: Context) {
    while let Ok(Some((frame, length))) = Frame::next(stream) {
        assert!((19..=MAX_MESSAGE).contains(&length), "a frame of {length} octets");
        if let Ok(mut message) = Message::decode(frame, context) {
            if let Message::Update(update) = &mut message {
                // what was dropped on the way in is told, not sent
                update.discarded.clear();
            }
            read_back(&message, context);
        }
        stream = &stream[length..];
    }
}

/// A message that the decoder accepted means the same after a round trip, if it still fits.
fn read_back(message: &Message, context: Context) {
    let bytes = message.encode(context);
    if bytes.len() > MAX_MESSAGE {
        return;
    }
    let (frame, length) = Frame::next(&bytes).expect("our own header").expect("a whole message");
    assert_eq!(length, bytes.len());
    let again = Message::decode(frame, context);
    assert_eq!(again.as_ref().ok(), Some(message), "read back as {again:?}");
}

//! Every message decoder, over foreign bytes: none panics, what is accepted is canonical, and the
//! canonical form of whatever the lenient layer reads is accepted.
//!
//! The first byte chooses the message; the rest is what the attacker sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use minicbor::{Decode, Encode};
use strongroom_wire::{answer, decode, encode, entry, envelope, frame, manifest, request, tenant};

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let decoders = decoders();
    decoders[usize::from(*choice) % decoders.len()](bytes);
});

fn decoders() -> [fn(&[u8]); 20] {
    [
        check::<answer::Answer>,
        check::<answer::Receipt>,
        check::<answer::StatusReport>,
        check::<entry::Anchor>,
        check::<entry::Entry>,
        check::<entry::EntryHeader>,
        check::<entry::Proposal>,
        check::<entry::Signed<entry::Notarised>>,
        check::<entry::Signed<entry::Promised>>,
        check::<envelope::Envelope>,
        check::<envelope::Header>,
        check::<frame::Request>,
        check::<frame::Response>,
        check::<manifest::Bundle>,
        check::<manifest::Manifest>,
        check::<request::Finish>,
        check::<request::Start>,
        check::<tenant::SignedTenantChange>,
        |bytes| drop(envelope::Envelope::parse(bytes)),
        padding,
    ]
}

fn check<T>(bytes: &[u8])
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(
            encode(&value),
            bytes,
            "accepted, and yet another encoding of its value"
        );
    }
    if let Ok(value) = minicbor::decode::<T>(bytes) {
        let canonical = encode(&value);
        assert!(
            decode::<T>(&canonical).is_ok(),
            "our own encoding is refused"
        );
    }
}

fn padding(bytes: &[u8]) {
    use strongroom_wire::codec::{pad, unpad};
    if let Ok(message) = unpad(bytes) {
        assert_eq!(pad(message, bytes.len()).as_deref(), Ok(bytes));
    }
}

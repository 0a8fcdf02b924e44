//! What is encoded decodes to the same value, and nothing near it decodes to that value.

use super::sample::{Sample, Source};
use core::fmt::Debug;
use minicbor::{Decode, Encode};
use proptest::prelude::*;
use strongroom_wire::entry::{Notarised, Promised, Signed};
use strongroom_wire::{Malformed, answer, decode, encode, entry, envelope, frame, manifest};
use strongroom_wire::{codec, request, tenant};

type Checked = Result<(), TestCaseError>;

fn check<T>(seed: &[u8], damage: (usize, u8)) -> Checked
where
    T: Sample + Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let value = T::sample(&mut Source::new(seed));
    let bytes = encode(&value);
    let decoded = decode::<T>(&bytes);
    prop_assert_eq!(decoded.as_ref(), Ok(&value));
    prop_assert_eq!(encode(&value), &bytes[..], "encoding is a function");
    let longer = [bytes.as_slice(), &[damage.1]].concat();
    prop_assert_eq!(decode::<T>(&longer), Err(Malformed::NotCanonical));
    let cut = damage.0 % bytes.len();
    prop_assert_eq!(decode::<T>(&bytes[..cut]), Err(Malformed::Encoding));
    // One byte changed: refused, or another value with these very bytes.
    let mut changed = bytes.clone();
    changed[cut] ^= damage.1.max(1);
    if let Ok(other) = decode::<T>(&changed) {
        prop_assert_ne!(&other, &value);
        prop_assert_eq!(encode(&other), changed);
    }
    Ok(())
}

/// One property test for each message.
macro_rules! every_message_round_trips {
    ($($test:ident: $message:ty,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(48))]
            $(
                #[test]
                fn $test(
                    seed in prop::collection::vec(any::<u8>(), 0..1500),
                    damage in any::<(usize, u8)>(),
                ) {
                    check::<$message>(&seed, damage)?;
                }
            )*
        }
    };
}

every_message_round_trips! {
    an_envelope_round_trips: envelope::Envelope,
    a_header_round_trips: envelope::Header,
    a_start_round_trips: request::Start,
    a_finish_round_trips: request::Finish,
    a_possession_round_trips: request::Possession,
    an_owner_proof_round_trips: request::OwnerProof,
    an_answer_round_trips: answer::Answer,
    a_refusal_round_trips: answer::Refusal,
    an_event_round_trips: answer::Event,
    an_entry_header_round_trips: entry::EntryHeader,
    a_proposal_round_trips: entry::Proposal,
    a_state_round_trips: entry::State,
    an_anchor_round_trips: entry::Anchor,
    an_entry_round_trips: entry::Entry,
    a_signed_promise_round_trips: Signed<Promised>,
    a_signed_notarisation_round_trips: Signed<Notarised>,
    a_manifest_round_trips: manifest::Manifest,
    a_bundle_round_trips: manifest::Bundle,
    a_tenant_round_trips: tenant::Tenant,
    a_tenant_change_round_trips: tenant::TenantChange,
    a_signed_tenant_change_round_trips: tenant::SignedTenantChange,
    a_signed_clock_change_round_trips: entry::SignedClockChange,
    a_handover_key_round_trips: frame::HandoverKey,
    a_frame_request_round_trips: frame::Request,
    a_frame_response_round_trips: frame::Response,
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic_and_decode_to_themselves_only(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        /// What decodes has these bytes.
        macro_rules! each {
            ($($message:ty),*) => {$(
                if let Ok(value) = decode::<$message>(&bytes) {
                    prop_assert_eq!(encode(&value), &bytes[..]);
                }
            )*};
        }
        each!(envelope::Envelope, request::Start, request::Finish, answer::Answer);
        each!(frame::Request, frame::Response, entry::Entry, manifest::Manifest);
        each!(tenant::TenantChange, answer::Refusal, entry::State, manifest::Policy);
        let _ = envelope::Envelope::parse(&bytes);
    }

    #[test]
    fn padding_comes_off_and_any_other_padding_is_refused(
        message in prop::collection::vec(any::<u8>(), 0..300),
        room in 0_usize..64,
        position in any::<usize>(),
    ) {
        let size = message.len() + 4 + room;
        let padded = codec::pad(&message, size).unwrap();
        prop_assert_eq!(padded.len(), size);
        prop_assert_eq!(codec::unpad(&padded).unwrap(), &message[..]);
        if room > 0 {
            let mut dirty = padded.clone();
            dirty[message.len() + 4 + position % room] = 1;
            prop_assert_eq!(codec::unpad(&dirty), Err(Malformed::Padding));
        }
        let cut = &padded[..position % (message.len() + 4)];
        prop_assert_eq!(codec::unpad(cut), Err(Malformed::Padding));
    }
}

#[test]
fn a_message_that_does_not_fit_is_not_padded() {
    assert_eq!(codec::pad(&[1; 10], 13), Err(Malformed::OutOfBounds));
    assert_eq!(
        codec::pad(&[1; 10], 14).unwrap(),
        [[0, 0, 0, 10].as_slice(), &[1; 10]].concat()
    );
    assert_eq!(codec::pad(&[], 3), Err(Malformed::OutOfBounds));
    assert_eq!(codec::pad(&[], 0), Err(Malformed::OutOfBounds));
}

#[test]
fn a_length_beyond_the_padding_is_refused() {
    for length in [1_u32, 2, 1 << 31, u32::MAX] {
        assert_eq!(codec::unpad(&length.to_be_bytes()), Err(Malformed::Padding));
    }
    assert_eq!(codec::unpad(&[0, 0, 0, 0]), Ok([].as_slice()));
}

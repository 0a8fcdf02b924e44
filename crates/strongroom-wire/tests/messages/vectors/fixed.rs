//! One of each message, with fixed contents, and how a receiver takes it: decoded and checked.

use crate::limits::envelope;
use crate::policy::{following, genesis};
use crate::sample::{Sample, Source};
use crate::samples::Variants;
use core::fmt::Debug;
use minicbor::{Decode, Encode};
use strongroom_wire::entry::{Notarised, Promised, Signed};
use strongroom_wire::envelope::{Envelope, OpClass, SizeClass};
use strongroom_wire::limits::ENC_BYTES;
use strongroom_wire::manifest::{Bundle, Manifest, Policy, SignedManifest};
use strongroom_wire::request::{Finish, Start};
use strongroom_wire::tenant::{IssuerKey, Tenant, TokenAlgorithm};
use strongroom_wire::{
    Digest, MemberId, PublicKey, Signature, answer, codec, decode, encode, entry, frame,
};
use strongroom_wire::{request, tenant};

/// Bytes in; out come the bytes of what was understood, or the name of the error.
pub type Receiver = fn(&[u8]) -> Result<Vec<u8>, String>;

/// A message and its canonical bytes.
pub struct Message {
    /// Type, then variant if there are several.
    pub name: String,
    pub kind: &'static str,
    pub bytes: Vec<u8>,
}

impl Message {
    fn new<T: Encode<()>>(name: &str, kind: &'static str, value: &T) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            bytes: encode(value),
        }
    }

    pub fn receive(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        receiver(self.kind).expect("messages are of known types")(bytes)
    }
}

fn name(error: impl Debug) -> String {
    format!("{error:?}")
}

fn recoded<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<Vec<u8>, String> {
    checked::<T, ()>(bytes, |_| Ok(()))
}

fn checked<T: Encode<()> + for<'b> Decode<'b, ()>, E: Debug>(
    bytes: &[u8],
    check: impl Fn(&T) -> Result<(), E>,
) -> Result<Vec<u8>, String> {
    let value = decode::<T>(bytes).map_err(name)?;
    check(&value).map_err(name)?;
    Ok(encode(&value))
}

fn finish(bytes: &[u8]) -> Result<Vec<u8>, String> {
    checked::<Finish, _>(bytes, |finish| match finish {
        Finish::Register(register) => register.check(),
        Finish::Recover(_) => Ok(()),
    })
}

fn issuer_keys(bytes: &[u8]) -> Result<Vec<u8>, String> {
    checked::<Tenant, _>(bytes, |tenant| {
        tenant.is_valid().then_some(()).ok_or("TenantInvalid")
    })
    .map_err(|error| error.trim_matches('"').to_owned())
}

fn padded(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let message = codec::unpad(bytes).map_err(name)?;
    codec::pad(message, bytes.len()).map_err(name)
}

/// All types of messages by the name they have in the vectors.
macro_rules! types {
    (
        checked: { $($checked:literal: $receiver:expr,)* }
        one: { $($one:literal: $single:ty,)* }
        of_each_variant: { $($each:literal: $enum:ty, $check:expr,)* }
    ) => {
        /// How messages of a type are received.
        pub fn receiver(kind: &str) -> Option<Receiver> {
            match kind {
                $($checked => Some($receiver),)*
                $($one => Some(recoded::<$single>),)*
                $($each => Some($check),)*
                _ => None,
            }
        }

        /// Messages whose contents only have to be of the right shape.
        fn shapes(pattern: &[u8]) -> Vec<Message> {
            let mut all = vec![
                $({
                    let mut source = Source::before_changes(pattern);
                    Message::new($one, $one, &<$single>::sample(&mut source))
                }),*
            ];
            $(for (variant, value) in <$enum>::variants(&mut Source::before_changes(pattern)) {
                all.push(Message::new(&format!("{}::{variant}", $each), $each, &value));
            })*
            all
        }
    };
}

types! {
    checked: {
        "Envelope": |bytes| {
            Envelope::parse(bytes).map(|value| encode(&value)).map_err(name)
        },
        "Policy": |bytes| checked(bytes, Policy::check),
        "Manifest": |bytes| checked(bytes, Manifest::check),
        "Bundle": |bytes| checked::<Bundle, _>(bytes, |bundle| bundle.manifest().map(|_| ())),
        "Tenant": issuer_keys,
        "Padded": padded,
    }
    one: {
        "Header": strongroom_wire::envelope::Header,
        "Possession": request::Possession,
        "OwnerProof": request::OwnerProof,
        "EntryHeader": entry::EntryHeader,
        "Proposal": entry::Proposal,
        "State": entry::State,
        "Tip": entry::Tip,
        "Anchor": entry::Anchor,
        "Write": entry::Write,
        "Entry": entry::Entry,
        "SignedPromised": Signed<Promised>,
        "SignedNotarised": Signed<Notarised>,
        "SignedTenantChange": tenant::SignedTenantChange,
        "SignedClockChange": entry::SignedClockChange,
        "HandoverKey": frame::HandoverKey,
        "SignedReady": Signed<entry::Ready>,
        "SignedManifest": SignedManifest,
        "Place": frame::Place,
    }
    of_each_variant: {
        "Start": Start, |bytes| checked(bytes, Start::check),
        "Finish": Finish, finish,
        "Answer": answer::Answer, recoded::<answer::Answer>,
        "Refusal": answer::Refusal, recoded::<answer::Refusal>,
        "EventKind": answer::EventKind, recoded::<answer::EventKind>,
        "TenantChange": tenant::TenantChange, recoded::<tenant::TenantChange>,
        "TenantRefusal": tenant::TenantRefusal, recoded::<tenant::TenantRefusal>,
        "Request": frame::Request, recoded::<frame::Request>,
        "Response": frame::Response, recoded::<frame::Response>,
        "Phase": frame::Phase, recoded::<frame::Phase>,
        "HsmError": frame::HsmError, recoded::<frame::HsmError>,
    }
}

/// Bytes that look like nothing in particular, the same in each run.
fn pattern() -> Vec<u8> {
    (0..20_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 16).to_le_bytes()[0])
        .collect()
}

/// A sound tenant with a key of each algorithm.
pub fn tenant() -> Tenant {
    let key = |kid: &str, algorithm, length| IssuerKey {
        kid: kid.to_owned(),
        algorithm,
        public: vec![4; length],
    };
    Tenant {
        issuer: "https://issuer.example".to_owned(),
        root: PublicKey([9; 32]),
        version: 1,
        keys: vec![
            key("1", TokenAlgorithm::EdDsa, 32),
            key("2", TokenAlgorithm::Es256, 65),
        ],
        bearer: false,
        account_rate: 10,
        tenant_rate: 1000,
    }
}

/// The bundle of a manifest that nobody signed: signatures are not the codec's affair.
pub fn bundle(manifest: &Manifest) -> Bundle {
    Bundle {
        manifest: encode(manifest),
        operator: Signature([0; 64]),
        history: None,
    }
}

/// A start's envelope of the small class, and a finish's.
pub fn envelopes() -> [Envelope; 2] {
    let size = SizeClass::Small;
    let finish = envelope(OpClass::Finish, size, 300, size.bytes() + 40);
    [
        envelope(OpClass::Start, size, ENC_BYTES, size.bytes() + 16),
        finish,
    ]
}

/// What came with changes of members, where the messages were there before.
fn changes_of_members(pattern: &[u8]) -> Vec<Message> {
    let mut source = Source::new(pattern);
    let (state, mut header) = (
        entry::State::sample(&mut source),
        entry::EntryHeader::sample(&mut source),
    );
    let state = entry::State {
        before: Some(Digest([0x22; 32])),
        greatest_member: Some(MemberId(7)),
        ..state
    };
    header.kind = entry::Kind::Reconfigure;
    let before = genesis(1, 0);
    let mut later = following(&before);
    later.members[0].address = Some("node.example:7101".to_owned());
    let signed = |manifest: &Manifest| SignedManifest {
        manifest: encode(manifest),
        officers: Vec::new(),
        operator: Signature([0; 64]),
    };
    let bundle = Bundle {
        history: Some(vec![signed(&before), signed(&later)]),
        ..bundle(&later)
    };
    vec![
        Message::new("State::changing", "State", &state),
        Message::new("EntryHeader::Reconfigure", "EntryHeader", &header),
        Message::new("Manifest::later", "Manifest", &later),
        Message::new("Bundle::later", "Bundle", &bundle),
    ]
}

/// One of each message.
pub fn messages() -> Vec<Message> {
    let [start, finish] = envelopes();
    let mut all = vec![
        Message::new("Envelope::Start", "Envelope", &start),
        Message::new("Envelope::Finish", "Envelope", &finish),
        Message::new("Policy::default", "Policy", &Policy::default()),
        Message::new("Policy::development", "Policy", &Policy::development()),
        Message::new("Manifest", "Manifest", &genesis(3, 0)),
        Message::new("Bundle", "Bundle", &bundle(&genesis(1, 0))),
        Message::new("Tenant", "Tenant", &tenant()),
    ];
    all.extend(shapes(&pattern()));
    all.extend(changes_of_members(&pattern()));
    all
}

//! An envelope with what its maker remembers: what is inside, and how to read an answer to it.

use super::channel::{Outgoing, header};
use strongroom_crypto::channel::ResponseKey;
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_wire::answer::{Answer, TicketGrant};
use strongroom_wire::envelope::{Envelope, OpClass, SizeClass, material_digest};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::request::{RecoverStart, Start};
use strongroom_wire::{AttemptId, OpId, PublicKey, binding, codec, decode, encode};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// First message of a registration.
    RegisterStart,
    /// A guess.
    RecoverStart {
        /// Its name.
        attempt: AttemptId,
        /// Its KE1.
        ke1: [u8; 96],
    },
    /// A reading.
    Status,
    /// A deletion.
    Delete {
        /// Its name.
        op: OpId,
        /// The key that signed it as the owner's.
        owner: Option<PublicKey>,
    },
    /// A reset.
    Reset {
        /// Its name.
        op: OpId,
    },
    /// A reset's end.
    CancelReset {
        /// Its name.
        op: OpId,
    },
    /// Second message of a registration.
    RegisterFinish {
        /// Its name.
        op: OpId,
        /// The key that signed it as the owner's.
        owner: Option<PublicKey>,
    },
    /// A guess's proof.
    RecoverFinish {
        /// Its name.
        op: OpId,
        /// Whether the phone took it from an answer that opened.
        right: bool,
    },
}

/// See the module.
pub struct Letter {
    /// What travels.
    pub envelope: Vec<u8>,
    /// What is asked.
    pub about: About,
    /// The request in clear.
    pub message: Vec<u8>,
    reading: Reading,
}

/// How answers are sealed.
enum Reading {
    Start(ResponseKey),
    Finish { grant: TicketGrant, aad: Vec<u8> },
}

impl Letter {
    /// Seals a start.
    pub fn start(about: About, out: Outgoing, message: Vec<u8>) -> Self {
        let (envelope, key) = out.seal(&message);
        Self {
            envelope,
            about,
            message,
            reading: Reading::Start(key),
        }
    }

    /// Seals a finish.
    ///
    /// # Panics
    /// If it does not fit the largest class.
    pub fn finish(
        about: About,
        manifest: &Manifest,
        grant: &TicketGrant,
        message: Vec<u8>,
        entropy: &impl Entropy,
    ) -> Self {
        let size = SizeClass::for_length(message.len()).expect("finishes fit");
        let padded = codec::pad(&message, size.bytes()).expect("the class holds it");
        let header = header(manifest, OpClass::Finish, size);
        let ticket = material_digest(&grant.ticket);
        let aad = binding::finish_aad(&header, &ticket);
        let key = SealingKey::from_bytes(grant.to_hsm);
        let sealed = seal::seal(&key, &aad, &padded, entropy);
        let reading = Reading::Finish {
            grant: grant.clone(),
            aad: binding::finish_answer_aad(&header, &ticket, &sealed),
        };
        let envelope = encode(&Envelope {
            header,
            key_material: grant.ticket.clone(),
            sealed,
        });
        Self {
            envelope,
            about,
            message,
            reading,
        }
    }

    /// The same letter with other words, in a fresh envelope of the same kind.
    #[must_use]
    pub fn reworded(&self, message: Vec<u8>, manifest: &Manifest, entropy: &impl Entropy) -> Self {
        match &self.reading {
            Reading::Start(_) => {
                let about = match decode(&message) {
                    // The words may be another guess now.
                    Ok(Start::Recover(RecoverStart { attempt, ke1, .. })) => {
                        About::RecoverStart { attempt, ke1 }
                    }
                    _ => self.about,
                };
                Self::start(about, Outgoing::new(manifest, entropy), message)
            }
            Reading::Finish { grant, .. } => {
                Self::finish(self.about, manifest, grant, message, entropy)
            }
        }
    }

    /// Reads an answer; none if it is not one to this letter.
    pub fn read(&self, sealed: &[u8]) -> Option<Answer> {
        let padded = match &self.reading {
            Reading::Start(key) => key.open(sealed).ok()?,
            Reading::Finish { grant, aad } => {
                seal::open(&SealingKey::from_bytes(grant.to_client), aad, sealed).ok()?
            }
        };
        decode(codec::unpad(&padded).ok()?).ok()
    }

    /// Whether it is a start.
    pub fn is_start(&self) -> bool {
        matches!(self.reading, Reading::Start(_))
    }

    /// The key that signed it as the owner's, if one did.
    pub fn owner(&self) -> Option<PublicKey> {
        match self.about {
            About::Delete { owner, .. } | About::RegisterFinish { owner, .. } => owner,
            _ => None,
        }
    }

    /// The operation's id, if it has one.
    pub fn op(&self) -> Option<OpId> {
        match self.about {
            About::RegisterStart | About::RecoverStart { .. } | About::Status => None,
            About::Delete { op, .. }
            | About::Reset { op }
            | About::CancelReset { op }
            | About::RegisterFinish { op, .. }
            | About::RecoverFinish { op, .. } => Some(op),
        }
    }
}

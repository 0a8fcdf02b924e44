//! What carries a request to the HSM, and an answer back (DESIGN §4, channel).
//!
//! The host reads the header only: no account, no operation, no outcome stands in it.

use crate::codec::{Malformed, decode, digest_bytes};
use crate::limits::{ENC_BYTES, ENVELOPE_BYTES_MAX, SIZE_CLASSES, TICKET_BYTES_MAX};
use crate::{CellId, Digest, KeyId};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// The protocol version that this crate speaks.
pub const VERSION: u8 = 1;

/// What the host may know of an operation, to queue it: finishes are never starved by starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum OpClass {
    /// A request under HPKE: it carries a token and may cost a guess.
    #[n(0)]
    Start,
    /// A request under a ticket's key: it ends what a start began.
    #[n(1)]
    Finish,
}

/// The padded size of a request or answer: an index into [`SIZE_CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum SizeClass {
    /// 1,024 bytes.
    #[n(0)]
    Small,
    /// 2,048 bytes.
    #[n(1)]
    Medium,
    /// 4,096 bytes.
    #[n(2)]
    Large,
}

impl SizeClass {
    /// Size of the padded plaintext in bytes.
    pub const fn bytes(self) -> usize {
        SIZE_CLASSES[self as usize]
    }

    /// The smallest class that holds a message of `length` bytes with its 4 bytes of length.
    pub fn for_length(length: usize) -> Option<Self> {
        [Self::Small, Self::Medium, Self::Large]
            .into_iter()
            .find(|c| length + 4 <= c.bytes())
    }
}

/// The routing header: the AAD of every envelope, and all that a host learns from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// [`VERSION`].
    #[n(0)]
    pub version: u8,
    /// Which fleet key (start) or ticket key (finish) opens it.
    #[n(1)]
    pub key: KeyId,
    /// Which cell it is for.
    #[n(2)]
    pub cell: CellId,
    /// Start or finish.
    #[n(3)]
    pub class: OpClass,
    /// Size of the padded plaintext.
    #[n(4)]
    pub size: SizeClass,
}

/// One request as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Envelope {
    /// The routing header.
    #[n(0)]
    pub header: Header,
    /// Start: the HPKE encapsulation ([`ENC_BYTES`]). Finish: the sealed ticket.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key_material: Vec<u8>,
    /// Start: HPKE ciphertext. Finish: XChaCha20-Poly1305 nonce ‖ ciphertext under the ticket's
    /// client-to-HSM key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

impl Envelope {
    /// Decodes an envelope and checks every length that its header implies.
    ///
    /// # Errors
    /// [`Malformed`], for any other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(Malformed::OutOfBounds);
        }
        let envelope: Self = decode(bytes)?;
        let size = envelope.header.size.bytes();
        let (material_fits, overhead) = match envelope.header.class {
            OpClass::Start => (envelope.key_material.len() == ENC_BYTES, 16),
            OpClass::Finish => (envelope.key_material.len() <= TICKET_BYTES_MAX, 24 + 16),
        };
        if !material_fits || envelope.sealed.len() != size + overhead {
            return Err(Malformed::OutOfBounds);
        }
        Ok(envelope)
    }

    /// Digest of the key material: what an owner proof and a finish's AAD bind instead of `enc`.
    pub fn material_digest(&self) -> Digest {
        material_digest(&self.key_material)
    }
}

/// See [`Envelope::material_digest`].
pub fn material_digest(key_material: &[u8]) -> Digest {
    digest_bytes("strongroom/v1 key material", key_material)
}

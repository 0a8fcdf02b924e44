//! One HPKE encapsulation, before its request is written: proofs inside are bound to it.

use strongroom_crypto::channel::{ResponseKey, Sender};
use strongroom_crypto::random::Entropy;
use strongroom_wire::envelope::{Envelope, Header, OpClass, SizeClass, VERSION, material_digest};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::request::Possession;
use strongroom_wire::{CellId, Digest, FleetId, binding, codec, encode};

/// See the module.
pub struct Outgoing {
    fleet: FleetId,
    header: Header,
    sender: Sender,
}

impl Outgoing {
    /// Encapsulates to the fleet.
    ///
    /// # Panics
    /// If the manifest's key is none.
    pub fn new(manifest: &Manifest, entropy: &impl Entropy) -> Self {
        let fleet = manifest.fleet_id();
        let header = header(manifest, OpClass::Start, SizeClass::Large);
        let info = binding::hpke_info(fleet, header.key);
        let sender = Sender::new(&manifest.keys[0].public, &info, entropy);
        Self {
            fleet,
            header,
            sender: sender.expect("the fleet's key is valid"),
        }
    }

    /// Digest of the encapsulation.
    pub fn enc(&self) -> Digest {
        material_digest(self.sender.enc())
    }

    /// What the key behind `cnf` signs.
    pub fn possession(&self) -> Possession {
        Possession {
            fleet: self.fleet,
            enc: self.enc(),
            header: binding::header_digest(&self.header),
        }
    }

    /// Seals the request.
    ///
    /// # Panics
    /// If it does not fit the largest class.
    pub fn seal(self, message: &[u8]) -> (Vec<u8>, ResponseKey) {
        let padded = codec::pad(message, self.header.size.bytes()).expect("starts fit");
        let key_material = self.sender.enc().to_vec();
        let aad = binding::start_aad(&self.header);
        let (sealed, key) = self.sender.seal(&aad, &padded).expect("one message");
        let envelope = Envelope {
            header: self.header,
            key_material,
            sealed,
        };
        (encode(&envelope), key)
    }
}

/// The routing header of an honest envelope.
pub fn header(manifest: &Manifest, class: OpClass, size: SizeClass) -> Header {
    Header {
        version: VERSION,
        key: manifest.keys[0].id,
        cell: CellId(0),
        class,
        size,
    }
}

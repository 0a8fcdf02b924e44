//! The fleet's keys, as one member holds them in RAM: every one a labelled child of the fleet
//! secret.
//!
//! Sealed objects are bound to fleet, cell, incarnation, key epoch, type, name and generation by
//! their AAD (DESIGN §4, nonces), so that no leaf or ticket can stand in for another. Nonces are
//! random and hedged (`strongroom_crypto::seal`): members share these keys and speculate on forks.

use crate::record::{Material, Record};
use crate::ticket::{Ticket, TicketKind};
use alloc::sync::Arc;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use strongroom_crypto::channel::FleetKem;
use strongroom_crypto::kdf::FleetSecret;
use strongroom_crypto::opaque::{LoginState, OpaqueServer};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_wire::entry::EntryHeader;
use strongroom_wire::envelope::Header;
use strongroom_wire::limits::{KE1_BYTES, KE2_BYTES, KE3_BYTES, TENANT_BYTES};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{
    CellId, Digest, FleetId, Generation, Incarnation, KeyEpoch, KeyId, RecordId, Slot, TenantKey,
    binding, codec, decode, encode,
};
use zeroize::Zeroizing;

/// The record-sealing key in use. Rotation re-seals a leaf when it is written.
const KEY_EPOCH: KeyEpoch = KeyEpoch(1);
const CELL: CellId = CellId(0);

/// A sealed leaf as the host stores it: what is needed to find the key and form the AAD, in the
/// clear, then nonce ‖ ciphertext.
#[derive(Encode, Decode)]
struct SealedLeaf {
    #[n(0)]
    key_epoch: KeyEpoch,
    #[n(1)]
    incarnation: Incarnation,
    #[n(2)]
    generation: Generation,
    #[cbor(n(3), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// All of a member's keys but its identity.
pub struct Keys {
    /// The fleet.
    pub fleet: FleetId,
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The manifest in force.
    pub manifest: Arc<Manifest>,
    /// OPAQUE.
    pub opaque: OpaqueServer,
    secret: FleetSecret,
    kems: Vec<(KeyId, FleetKem)>,
    record_key: SealingKey,
    tenant_key: SealingKey,
    name_key: Zeroizing<[u8; 32]>,
    entry_key: Zeroizing<[u8; 32]>,
    draw_key: Zeroizing<[u8; 32]>,
    opaque_context: Vec<u8>,
}

impl Keys {
    /// Derives everything once.
    pub fn new(secret: FleetSecret, manifest: Arc<Manifest>, incarnation: Incarnation) -> Self {
        let fleet = manifest.fleet_id();
        let kems = manifest
            .keys
            .iter()
            .map(|key| (key.id, FleetKem::from_seed(&secret.hpke_seed(key.id.0))))
            .collect();
        Self {
            fleet,
            incarnation,
            opaque: OpaqueServer::from_seed(&secret.opaque_seed()),
            kems,
            record_key: secret.record_key(&fleet.0, KEY_EPOCH.0),
            tenant_key: secret.tenant_key(&fleet.0, KEY_EPOCH.0),
            name_key: secret.name_key(&fleet.0),
            entry_key: secret.entry_key(&fleet.0, incarnation.0),
            draw_key: secret.draw_key(&fleet.0, incarnation.0),
            opaque_context: binding::opaque_context(fleet),
            manifest,
            secret,
        }
    }

    /// The HPKE key that a header names.
    pub fn kem(&self, header: &Header) -> Option<&FleetKem> {
        if header.version != strongroom_wire::envelope::VERSION || header.cell != CELL {
            return None;
        }
        self.kems
            .iter()
            .find(|(id, _)| *id == header.key)
            .map(|(_, kem)| kem)
    }

    /// Whether these keys are the ones that the manifest shows to clients.
    pub fn match_manifest(&self) -> bool {
        let hpke = self.manifest.keys.iter().all(|key| {
            self.kems
                .iter()
                .any(|(id, kem)| *id == key.id && kem.public() == key.public)
        });
        hpke && self.opaque.public_key() == self.manifest.opaque.0
    }

    /// PRF(fleet key, [issuer, sub, slot]).
    pub fn record_id(&self, issuer: &str, subject: &str, slot: Slot) -> RecordId {
        let label = "strongroom/v1 record id";
        RecordId(self.name(label, &encode(&(issuer, subject, slot))))
    }

    /// PRF(fleet key, issuer), in the same trie.
    pub fn tenant_key(&self, issuer: &str) -> TenantKey {
        TenantKey(self.name("strongroom/v1 tenant key", &encode(&issuer)))
    }

    fn name(&self, label: &str, bytes: &[u8]) -> [u8; 32] {
        strongroom_crypto::kdf::prf(&self.name_key, label, bytes)
    }

    /// The mark of an entry that HSM code made.
    pub fn entry_mark(&self, hash: &Digest) -> Digest {
        Digest(strongroom_crypto::kdf::prf(
            &self.entry_key,
            "strongroom/v1 entry mark",
            &hash.0,
        ))
    }

    /// Whether HSM code of this fleet made this header.
    pub fn is_marked(&self, hash: &Digest, mark: &Digest) -> bool {
        use strongroom_crypto::subtle::ConstantTimeEq as _;
        self.entry_mark(hash).0.ct_eq(&mark.0).into()
    }

    /// Seals a record under its name.
    pub fn seal_record(&self, id: &RecordId, record: &Record, entropy: &impl Entropy) -> Vec<u8> {
        let aad = self.leaf_aad("record", &id.0, self.incarnation, record.generation);
        self.leaf(
            &self.record_key,
            &aad,
            record.generation,
            &record.to_padded(),
            entropy,
        )
    }

    /// Opens a record of that name. `None` for anything that this fleet did not seal as that.
    pub fn open_record(&self, id: &RecordId, leaf: &[u8]) -> Option<Record> {
        let leaf = decode::<SealedLeaf>(leaf)
            .ok()
            .filter(|l| l.key_epoch == KEY_EPOCH)?;
        let aad = self.leaf_aad("record", &id.0, leaf.incarnation, leaf.generation);
        let padded = seal::open(&self.record_key, &aad, &leaf.sealed).ok()?;
        Record::from_padded(&padded).ok()
    }

    /// Seals a tenant under its key.
    pub fn seal_tenant(&self, tenant: &Tenant, entropy: &impl Entropy) -> Vec<u8> {
        let key = self.tenant_key(&tenant.issuer);
        let version = Generation(tenant.version);
        let aad = self.leaf_aad("tenant", &key.0, self.incarnation, version);
        let padded = codec::encode_padded(tenant, TENANT_BYTES).expect("tenants fit by the limits");
        self.leaf(&self.tenant_key, &aad, version, &padded, entropy)
    }

    /// Opens a tenant under that key.
    pub fn open_tenant(&self, key: &TenantKey, leaf: &[u8]) -> Option<Tenant> {
        let leaf = decode::<SealedLeaf>(leaf)
            .ok()
            .filter(|l| l.key_epoch == KEY_EPOCH)?;
        let aad = self.leaf_aad("tenant", &key.0, leaf.incarnation, leaf.generation);
        let padded = seal::open(&self.tenant_key, &aad, &leaf.sealed).ok()?;
        decode(codec::unpad(&padded).ok()?).ok()
    }

    fn leaf(
        &self,
        key: &SealingKey,
        aad: &[u8],
        generation: Generation,
        plaintext: &[u8],
        entropy: &impl Entropy,
    ) -> Vec<u8> {
        let sealed = seal::seal(key, aad, plaintext, entropy);
        let incarnation = self.incarnation;
        encode(&SealedLeaf {
            key_epoch: KEY_EPOCH,
            incarnation,
            generation,
            sealed,
        })
    }

    fn leaf_aad(
        &self,
        kind: &str,
        key: &[u8; 32],
        incarnation: Incarnation,
        generation: Generation,
    ) -> Vec<u8> {
        let name = RecordId(*key);
        let place = (self.fleet, CELL, incarnation, KEY_EPOCH);
        encode(&("strongroom/v1 leaf", place, kind, name, generation))
    }

    /// Seals a ticket: kind byte, nonce, ciphertext.
    pub fn seal_ticket(&self, ticket: &Ticket, entropy: &impl Entropy) -> Vec<u8> {
        let kind = ticket.purpose.kind();
        let key_id = self.newest_key();
        let plaintext = Zeroizing::new(encode(ticket));
        let (key, aad) = self.ticket_key(kind, key_id);
        let mut out = Vec::from([kind.byte()]);
        out.extend_from_slice(&seal::seal(&key, &aad, &plaintext, entropy));
        out
    }

    /// Opens a ticket of this fleet and incarnation.
    pub fn open_ticket(&self, header: &Header, sealed: &[u8]) -> Option<Ticket> {
        self.kem(header)?;
        let (kind, sealed) = sealed.split_first()?;
        let kind = TicketKind::from_byte(*kind)?;
        let (key, aad) = self.ticket_key(kind, header.key);
        let plaintext = seal::open(&key, &aad, sealed).ok()?;
        let ticket: Ticket = decode(&plaintext).ok()?;
        (ticket.purpose.kind() == kind).then_some(ticket)
    }

    /// The key that new tickets are sealed under.
    pub fn newest_key(&self) -> KeyId {
        self.kems.first().expect("a checked manifest has a key").0
    }

    fn ticket_key(&self, kind: TicketKind, key: KeyId) -> (SealingKey, Vec<u8>) {
        let place = (self.fleet, CELL, self.incarnation, key);
        let aad = encode(&("strongroom/v1 ticket", place, kind.byte()));
        (
            self.secret
                .ticket_key(&self.fleet.0, self.incarnation.0, key.0, kind.byte()),
            aad,
        )
    }

    /// Draws a secret for one operation: random, and bound to the operation's record and envelope
    /// under a key of the fleet. A machine snapshot repeats randomness; what it repeats it for is
    /// then another envelope, and the secret another.
    pub fn draw(
        &self,
        entropy: &impl Entropy,
        label: &str,
        record: &RecordId,
        enc: &Digest,
    ) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 96]);
        let (random, bound) = seed.split_at_mut(32);
        entropy.fill(random);
        let (name, envelope) = bound.split_at_mut(32);
        name.copy_from_slice(&record.0);
        envelope.copy_from_slice(&enc.0);
        Zeroizing::new(strongroom_crypto::kdf::prf(&self.draw_key, label, &*seed))
    }

    /// OPAQUE's second message, with fresh key exchange; none if KE1 or the file is invalid.
    pub fn login_start(
        &self,
        material: &Material,
        ke1: &[u8; KE1_BYTES],
        client: &Digest,
        entropy: &impl Entropy,
    ) -> Option<([u8; KE2_BYTES], LoginState)> {
        let identities = strongroom_crypto::opaque::Identities {
            client: &client.0,
            server: &self.fleet.0,
            context: &self.opaque_context,
        };
        self.opaque
            .login_start(&material.seed, &material.upload, ke1, &identities, entropy)
            .ok()
    }

    /// Whether KE3 proves the code.
    pub fn login_finish(&self, state: &LoginState, ke3: &[u8; KE3_BYTES]) -> bool {
        self.opaque.login_finish(state, ke3).is_ok()
    }

    /// A header with its mark.
    pub fn marked(&self, header: EntryHeader) -> strongroom_wire::entry::Proposal {
        let mark = self.entry_mark(&header.hash());
        strongroom_wire::entry::Proposal { header, mark }
    }
}

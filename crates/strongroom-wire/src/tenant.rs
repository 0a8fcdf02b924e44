//! Tenants: who may say who a user is (DESIGN §11, REVIEW C7).
//!
//! The admin key creates a tenant and sets its limits, nothing else. Issuer keys are changed only
//! by the tenant's own root key, fixed at creation: the operator cannot mint a user.

use crate::limits::{ISSUER_BYTES_MAX, ISSUER_KEYS_MAX};
use crate::{FleetId, PublicKey, Signature};
use alloc::string::String;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// Signature algorithm of a vault token; fixed by the key, never by the token's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum TokenAlgorithm {
    /// Ed25519 (RFC 8037), public key of 32 bytes.
    #[n(0)]
    EdDsa,
    /// ECDSA P-256 with SHA-256, public key as SEC1 uncompressed point of 65 bytes.
    #[n(1)]
    Es256,
}

/// A key that signs vault tokens.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IssuerKey {
    /// `kid`, unique within the tenant, 1 to 64 bytes.
    #[n(0)]
    pub kid: String,
    /// Algorithm.
    #[n(1)]
    pub algorithm: TokenAlgorithm,
    /// Public key; length by algorithm.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub public: Vec<u8>,
}

/// A tenant as the trie holds it (sealed).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tenant {
    /// `iss` of its tokens; belongs to one tenant for ever.
    #[n(0)]
    pub issuer: String,
    /// Changes the issuer keys; fixed at creation.
    #[n(1)]
    pub root: PublicKey,
    /// Raised by each change of keys.
    #[n(2)]
    pub version: u64,
    /// Keys that sign tokens.
    #[n(3)]
    pub keys: Vec<IssuerKey>,
    /// Tokens carry no `cnf`: its hosts can spend its users' guesses. Documented as such.
    #[n(4)]
    pub bearer: bool,
    /// Requests per account and minute that the node lets through.
    #[n(5)]
    pub account_rate: u32,
    /// Requests per second of the whole tenant that the node lets through.
    #[n(6)]
    pub tenant_rate: u32,
}

impl Tenant {
    /// Checks lengths and uniqueness.
    pub fn is_valid(&self) -> bool {
        let issuer = !self.issuer.is_empty() && self.issuer.len() <= ISSUER_BYTES_MAX;
        let count = self.keys.len() <= ISSUER_KEYS_MAX && !self.keys.is_empty();
        let each = self.keys.iter().enumerate().all(|(i, key)| {
            let length = match key.algorithm {
                TokenAlgorithm::EdDsa => 32,
                TokenAlgorithm::Es256 => 65,
            };
            let unique = self
                .keys
                .iter()
                .skip(i + 1)
                .all(|other| other.kid != key.kid);
            key.public.len() == length && (1..=64).contains(&key.kid.len()) && unique
        });
        issuer && count && each
    }
}

/// A change to a tenant. Signed over its canonical bytes: creation by the admin key, keys by the
/// tenant's root key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TenantChange {
    /// A new tenant, `version` 1. Fails if the issuer was ever created.
    #[n(0)]
    Create {
        /// Binds the change to one fleet.
        #[n(0)]
        fleet: FleetId,
        /// All of it.
        #[n(1)]
        tenant: Tenant,
    },
    /// New issuer keys.
    #[n(1)]
    Keys {
        /// Binds the change to one fleet.
        #[n(0)]
        fleet: FleetId,
        /// Which tenant.
        #[n(1)]
        issuer: String,
        /// The version it has now plus one: a replayed change changes nothing.
        #[n(2)]
        version: u64,
        /// The keys from now on.
        #[n(3)]
        keys: Vec<IssuerKey>,
    },
}

impl TenantChange {
    /// Which tenant it is about.
    pub fn issuer(&self) -> &str {
        match self {
            Self::Create { tenant, .. } => &tenant.issuer,
            Self::Keys { issuer, .. } => issuer,
        }
    }
}

/// A change and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedTenantChange {
    /// Canonical bytes of the [`TenantChange`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub change: Vec<u8>,
    /// Ed25519 by the admin key (create) or the tenant's root key (keys).
    #[n(1)]
    pub signature: Signature,
}

/// Why a change of a tenant was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum TenantRefusal {
    /// Another fleet, or a field out of range.
    #[n(0)]
    Invalid,
    /// The signature is not by the key that may do this.
    #[n(1)]
    WrongSigner,
    /// The issuer belongs to a tenant already.
    #[n(2)]
    Exists,
    /// No such tenant.
    #[n(3)]
    Unknown,
    /// The version is not the present one plus one.
    #[n(4)]
    StaleVersion,
}

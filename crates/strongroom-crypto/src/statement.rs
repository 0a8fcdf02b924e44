//! Signed statements: Ed25519 (RFC 8032) over a label and canonical bytes, and token signatures.
//!
//! Signed bytes: label length (1 byte) ‖ label ‖ statement. Verification is strict: no small-order
//! keys, canonical encodings only.

use alloc::vec::Vec;
use ed25519_dalek::{Signer as _, VerifyingKey};

/// Every kind of statement, in one place, so that none can be taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A member's promise of an epoch.
    Promised,
    /// A member's seal on an entry.
    Notarised,
    /// An owner's proof of the root.
    OwnerProof,
    /// A token holder's proof of possession (`cnf`).
    TokenPossession,
    /// A tenant created, by the admin key.
    TenantCreate,
    /// A tenant's issuer keys changed, by its root key.
    TenantKeys,
    /// A manifest, by the operator.
    Manifest,
    /// A change of the clock, by an officer.
    Clock,
    /// A joiner's key for the hand-over, by its identity.
    Handover,
    /// A manifest that is to follow the one in force, by an officer.
    Officers,
    /// A joiner's word that it holds the secret, by its identity.
    Ready,
    /// An entry for the transparency log, by who may submit it.
    LogSubmission,
}

impl Label {
    /// The label's bytes.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Promised => "strongroom/v1 promised",
            Self::Notarised => "strongroom/v1 notarised",
            Self::OwnerProof => "strongroom/v1 owner proof",
            Self::TokenPossession => "strongroom/v1 token possession",
            Self::TenantCreate => "strongroom/v1 tenant create",
            Self::TenantKeys => "strongroom/v1 tenant keys",
            Self::Manifest => "strongroom/v1 manifest signature",
            Self::Clock => "strongroom/v1 clock",
            Self::Handover => "strongroom/v1 handover",
            Self::Officers => "strongroom/v1 officers",
            Self::Ready => "strongroom/v1 ready",
            Self::LogSubmission => "strongroom/v1 log submission",
        }
    }
}

/// Whether at least `threshold` of the `named` keys signed, each of them once. A stranger's
/// signature, a second one by the same key or one that does not hold spoils the whole: an honest
/// bearer has no reason to show it. A threshold of zero is reached by nobody.
pub fn signed_by_enough<'a>(
    named: impl Fn(&[u8; 32]) -> bool,
    threshold: usize,
    label: Label,
    statement: &[u8],
    signatures: impl IntoIterator<Item = (&'a [u8; 32], &'a [u8; 64])>,
) -> bool {
    let mut signers: Vec<&[u8; 32]> = Vec::new();
    for (key, signature) in signatures {
        let holds = verify(key, label, statement, signature).is_ok();
        if !named(key) || signers.contains(&key) || !holds {
            return false;
        }
        signers.push(key);
    }
    threshold > 0 && signers.len() >= threshold
}

/// An Ed25519 signing key; erased on drop.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs raw bytes, for formats with framing of their own (JWS).
    pub fn sign_raw(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

/// A signature that does not hold, or a key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl core::fmt::Display for BadSignature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the signature does not hold")
    }
}

impl core::error::Error for BadSignature {}

/// The very bytes that are signed.
pub fn signed_bytes(label: Label, statement: &[u8]) -> Vec<u8> {
    let label = label.text().as_bytes();
    let length = u8::try_from(label.len()).expect("labels are short constants of ours");
    let mut out = Vec::with_capacity(1 + label.len() + statement.len());
    out.push(length);
    out.extend_from_slice(label);
    out.extend_from_slice(statement);
    out
}

/// Signs a statement.
pub fn sign(key: &SigningKey, label: Label, statement: &[u8]) -> [u8; 64] {
    key.sign_raw(&signed_bytes(label, statement))
}

/// Verifies a statement.
///
/// # Errors
/// [`BadSignature`].
pub fn verify(
    public: &[u8; 32],
    label: Label,
    statement: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    verify_ed25519(public, &signed_bytes(label, statement), signature)
}

/// A token's signature algorithm (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsAlg {
    /// Ed25519; public key of 32 bytes.
    EdDsa,
    /// ECDSA P-256 with SHA-256; public key as uncompressed point of 65 bytes.
    Es256,
}

/// Verifies a JWS signature of 64 bytes over its signing input. ES256 accepts both halves of `s`:
/// RFC 7518 does not ask for the low one, and a malleable token names the same claims.
///
/// # Errors
/// [`BadSignature`], also for a key or signature of another length.
pub fn verify_jws(
    algorithm: JwsAlg,
    public: &[u8],
    signing_input: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let signature: &[u8; 64] = signature.try_into().map_err(|_| BadSignature)?;
    match algorithm {
        JwsAlg::EdDsa => {
            let public: &[u8; 32] = public.try_into().map_err(|_| BadSignature)?;
            verify_ed25519(public, signing_input, signature)
        }
        JwsAlg::Es256 => verify_es256(public, signing_input, signature),
    }
}

fn verify_ed25519(
    public: &[u8; 32],
    bytes: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(bytes, &signature)
        .map_err(|_| BadSignature)
}

fn verify_es256(public: &[u8], bytes: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    use p256::ecdsa::signature::Verifier as _;
    if public.len() != 65 {
        return Err(BadSignature);
    }
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(public).map_err(|_| BadSignature)?;
    let signature = p256::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
    key.verify(bytes, &signature).map_err(|_| BadSignature)
}

//! What an app's server does: say who a user is, in two tokens, and keep its keys in the fleet.
//!
//! Used by the demo, development fleets and tests. A real server keeps the issuer key to itself and
//! gives tokens to signed-in users only.

use crate::tokens::{TokenError, TokenSource, Tokens};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::tenant::{
    IssuerKey, SignedTenantChange, Tenant, TenantChange, TokenAlgorithm,
};
use strongroom_wire::{FleetId, PublicKey, Signature, binding, encode};

/// An issuer with one Ed25519 key.
#[derive(Clone)]
pub struct Issuer {
    /// `iss`.
    pub name: String,
    /// `kid` of its key.
    pub kid: String,
    key: SigningKey,
}

/// How long its tokens live, seconds.
const LIFE_S: u64 = 600;

impl Issuer {
    /// An issuer of that name and key.
    pub fn new(name: &str, seed: &[u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            kid: "1".to_owned(),
            key: SigningKey::from_seed(seed),
        }
    }

    /// Its public key, as the fleet keeps it.
    pub fn public(&self) -> IssuerKey {
        IssuerKey {
            kid: self.kid.clone(),
            algorithm: TokenAlgorithm::EdDsa,
            public: self.key.public().to_vec(),
        }
    }

    /// A signed token with these claims.
    pub fn sign(&self, claims: &serde_json::Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"});
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign_raw(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// Both tokens for a user, bound to `possession`.
    ///
    /// # Errors
    /// [`TokenError`], never in practice.
    pub fn tokens(
        &self,
        fleet: FleetId,
        subject: &str,
        possession: &SigningKey,
    ) -> Result<Tokens, TokenError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = |audience: String| {
            json!({
                "iss": self.name, "sub": subject, "aud": audience, "iat": now, "exp": now + LIFE_S,
                "cnf": {"jwk": {
                    "kty": "OKP", "crv": "Ed25519",
                    "x": URL_SAFE_NO_PAD.encode(possession.public()),
                }},
            })
        };
        let admission = self.sign(&claims(binding::admission_audience(fleet)));
        let vault = self.sign(&claims(binding::vault_audience(fleet)));
        Tokens::new(admission, vault, Some(possession.clone()))
    }
}

/// One user's tokens from an [`Issuer`] at hand.
pub struct Account {
    issuer: Issuer,
    fleet: FleetId,
    subject: String,
    possession: SigningKey,
}

impl Account {
    /// The account `subject` on a device with a possession key of its own.
    pub fn new(issuer: Issuer, fleet: FleetId, subject: &str) -> Self {
        let mut seed = [0; 32];
        strongroom_crypto::random::Entropy::fill(&crate::Os, &mut seed);
        let possession = SigningKey::from_seed(&seed);
        Self {
            issuer,
            fleet,
            subject: subject.to_owned(),
            possession,
        }
    }
}

impl TokenSource for Account {
    async fn tokens(&self) -> Result<Tokens, TokenError> {
        self.issuer
            .tokens(self.fleet, &self.subject, &self.possession)
    }
}

/// A new tenant, signed by the fleet's admin key.
pub fn create_tenant(
    admin: &SigningKey,
    fleet: FleetId,
    root: PublicKey,
    issuer: &Issuer,
) -> SignedTenantChange {
    let tenant = Tenant {
        issuer: issuer.name.clone(),
        root,
        version: 1,
        keys: vec![issuer.public()],
        bearer: false,
        account_rate: 120,
        tenant_rate: 10_000,
    };
    signed(
        admin,
        Label::TenantCreate,
        &TenantChange::Create { fleet, tenant },
    )
}

/// New issuer keys, signed by the tenant's root key.
pub fn change_keys(
    root: &SigningKey,
    fleet: FleetId,
    issuer: &str,
    version: u64,
    keys: Vec<IssuerKey>,
) -> SignedTenantChange {
    let issuer = issuer.to_owned();
    signed(
        root,
        Label::TenantKeys,
        &TenantChange::Keys {
            fleet,
            issuer,
            version,
            keys,
        },
    )
}

fn signed(key: &SigningKey, label: Label, change: &TenantChange) -> SignedTenantChange {
    let change = encode(change);
    let signature = Signature(statement::sign(key, label, &change));
    SignedTenantChange { change, signature }
}

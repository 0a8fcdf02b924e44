//! An app's server with a key of either algorithm, honest or not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_client::tokens::{TokenError, TokenSource, Tokens};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::tenant::{
    IssuerKey, SignedTenantChange, Tenant, TenantChange, TokenAlgorithm,
};
use strongroom_wire::{FleetId, PublicKey, Signature, binding, encode};

pub const KID: &str = "key-1";

/// One tenant's server.
pub struct Issuer {
    pub name: String,
    pub public: IssuerKey,
    algorithm: Algorithm,
    key: EncodingKey,
}

pub fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

impl Issuer {
    pub fn ed25519(name: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let algorithm = TokenAlgorithm::EdDsa;
        Self::new(name, &pair, algorithm, EncodingKey::from_ed_der)
    }

    pub fn es256(name: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let algorithm = TokenAlgorithm::Es256;
        Self::new(name, &pair, algorithm, EncodingKey::from_ec_der)
    }

    fn new(
        name: &str,
        pair: &rcgen::KeyPair,
        algorithm: TokenAlgorithm,
        key: fn(&[u8]) -> EncodingKey,
    ) -> Self {
        Self {
            name: name.to_owned(),
            public: IssuerKey {
                kid: KID.to_owned(),
                algorithm,
                public: pair.public_key_raw().to_vec(),
            },
            algorithm: match algorithm {
                TokenAlgorithm::EdDsa => Algorithm::EdDSA,
                TokenAlgorithm::Es256 => Algorithm::ES256,
            },
            key: key(&pair.serialize_der()),
        }
    }

    /// The header of its honest tokens.
    pub fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(KID.to_owned());
        header
    }

    pub fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }

    pub fn claims(&self, audience: &str, subject: &str) -> Value {
        let now = now_s();
        json!({
            "iss": self.name, "sub": subject, "aud": audience, "iat": now, "exp": now + 600,
        })
    }

    pub fn admission(&self, fleet: FleetId, subject: &str) -> String {
        let claims = self.claims(&binding::admission_audience(fleet), subject);
        self.sign(&self.header(), &claims)
    }

    pub fn vault(&self, fleet: FleetId, subject: &str, possession: &SigningKey) -> String {
        let mut claims = self.claims(&binding::vault_audience(fleet), subject);
        claims["cnf"] = json!({"jwk": {
            "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(possession.public()),
        }});
        self.sign(&self.header(), &claims)
    }

    /// The tenant it belongs to.
    pub fn tenant(&self, account_rate: u32, tenant_rate: u32) -> Tenant {
        Tenant {
            issuer: self.name.clone(),
            root: PublicKey(root().public()),
            version: 1,
            keys: vec![self.public.clone()],
            bearer: false,
            account_rate,
            tenant_rate,
        }
    }
}

/// Creates tenants.
pub fn admin() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

/// Every tenant's root key.
pub fn root() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

pub fn signed(signer: &SigningKey, label: Label, change: &TenantChange) -> Vec<u8> {
    let change = encode(change);
    let signature = Signature(statement::sign(signer, label, &change));
    encode(&SignedTenantChange { change, signature })
}

pub fn create(fleet: FleetId, tenant: Tenant) -> Vec<u8> {
    let change = TenantChange::Create { fleet, tenant };
    signed(&admin(), Label::TenantCreate, &change)
}

pub fn keys(fleet: FleetId, issuer: &str, version: u64, keys: Vec<IssuerKey>) -> Vec<u8> {
    let issuer = issuer.to_owned();
    let change = TenantChange::Keys {
        fleet,
        issuer,
        version,
        keys,
    };
    signed(&root(), Label::TenantKeys, &change)
}

/// A signed-in user on one device.
#[derive(Clone)]
pub struct User {
    pub issuer: Arc<Issuer>,
    pub fleet: FleetId,
    pub subject: String,
    pub possession: SigningKey,
}

impl User {
    pub fn now(&self) -> Tokens {
        let admission = self.issuer.admission(self.fleet, &self.subject);
        let vault = self
            .issuer
            .vault(self.fleet, &self.subject, &self.possession);
        Tokens::new(admission, vault, Some(self.possession.clone())).unwrap()
    }
}

impl TokenSource for User {
    async fn tokens(&self) -> Result<Tokens, TokenError> {
        Ok(self.now())
    }
}

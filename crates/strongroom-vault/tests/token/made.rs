//! Tokens made piece by piece, so that each piece can be wrong.
//!
//! Fixed inputs: the fleet 0x11 × 32, EdDSA seeds 0x21 × 32 (and 0x22 × 32, which no tenant has),
//! the P-256 scalar 0x31 × 32, the possession seed 0x41 × 32, and the time [`NOW_S`].

use base64ct::{Base64UrlUnpadded, Encoding as _};
use strongroom_crypto::statement::SigningKey;
use strongroom_vault::token::{Token, TokenError};
use strongroom_wire::tenant::{IssuerKey, Tenant, TokenAlgorithm};
use strongroom_wire::{FleetId, PublicKey, UnixMs, binding};

/// The fleet's time, seconds.
pub const NOW_S: u64 = 1_800_000_000;
/// The policy's longest life of a token, ms.
pub const LIFE_MAX_MS: u64 = 15 * 60_000;
pub const FLEET: FleetId = FleetId([0x11; 32]);
pub const ISSUER: &str = "https://issuer.example";
pub const EDDSA: &str = r#"{"alg":"EdDSA","kid":"ed","typ":"JWT"}"#;
pub const ES256: &str = r#"{"alg":"ES256","kid":"p256","typ":"JWT"}"#;

/// One token and what becomes of it.
pub struct Vector {
    pub name: &'static str,
    /// Which of [`tenant`]'s.
    pub tenant: &'static str,
    pub token: String,
    /// None: it is accepted.
    pub error: Option<TokenError>,
}

/// A vector for the tenant with `cnf`.
pub fn bound(name: &'static str, token: String, error: Option<TokenError>) -> Vector {
    Vector {
        name,
        tenant: "bound",
        token,
        error,
    }
}

/// Tenants by name: `bound` (tokens carry `cnf`), `bearer` (they need not), `small-order` (its
/// EdDSA key is the identity, under which anybody can sign).
pub fn tenant(name: &str) -> Tenant {
    let eddsa = match name {
        "small-order" => SMALL_ORDER.to_vec(),
        _ => eddsa().public().to_vec(),
    };
    let key = |kid: &str, algorithm, public| IssuerKey {
        kid: kid.to_owned(),
        algorithm,
        public,
    };
    let p256 = es256().verifying_key().to_sec1_point(false);
    Tenant {
        issuer: ISSUER.to_owned(),
        root: PublicKey([5; 32]),
        version: 1,
        keys: vec![
            key("ed", TokenAlgorithm::EdDsa, eddsa),
            key("p256", TokenAlgorithm::Es256, p256.as_bytes().to_vec()),
        ],
        bearer: name == "bearer",
        account_rate: 1,
        tenant_rate: 1,
    }
}

/// The identity of Curve25519, canonically encoded.
pub const SMALL_ORDER: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 1;
    point
};

pub fn eddsa() -> SigningKey {
    SigningKey::from_seed(&[0x21; 32])
}

/// A key that no tenant has.
pub fn stranger() -> SigningKey {
    SigningKey::from_seed(&[0x22; 32])
}

pub fn es256() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[0x31; 32]).unwrap()
}

/// `r ‖ s` of the P-256 key, with the low `s` or the high one.
pub fn es256_signature(input: &str) -> p256::ecdsa::Signature {
    use p256::ecdsa::signature::Signer as _;
    let signature: p256::ecdsa::Signature = es256().sign(input.as_bytes());
    signature.normalize_s()
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

/// Header and claims, as they are signed.
pub fn input(header: &str, claims: impl AsRef<[u8]>) -> String {
    format!("{}.{}", base64(header), base64(claims))
}

/// Any bytes as the third part.
pub fn with_signature(input: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{input}.{}", base64(signature))
}

/// A token signed by the tenant's EdDSA key, whatever the header says.
pub fn signed(header: &str, claims: impl AsRef<[u8]>) -> String {
    sign_input(&input(header, claims))
}

/// The same over parts that are no base64url.
pub fn sign_input(input: &str) -> String {
    with_signature(input, eddsa().sign_raw(input.as_bytes()))
}

/// A token signed by the tenant's P-256 key, whatever the header says.
pub fn signed_es256(header: &str, claims: impl AsRef<[u8]>) -> String {
    let input = input(header, claims);
    with_signature(&input, es256_signature(&input).to_bytes())
}

/// Claims by name, each as raw JSON.
#[derive(Clone)]
pub struct Claims(Vec<(String, String)>);

impl Claims {
    /// What an honest issuer says.
    pub fn honest() -> Self {
        let possession = SigningKey::from_seed(&[0x41; 32]).public();
        let x = base64(possession);
        let claims = [
            ("iss", quoted(ISSUER)),
            ("sub", quoted("user-1")),
            ("aud", quoted(&binding::vault_audience(FLEET))),
            ("iat", (NOW_S - 60).to_string()),
            ("exp", (NOW_S + 600).to_string()),
            (
                "cnf",
                format!(r#"{{"jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#),
            ),
        ];
        Self(claims.map(|(name, raw)| (name.to_owned(), raw)).into())
    }

    /// Replaces a claim, or adds it.
    pub fn with(mut self, name: &str, raw: impl ToString) -> Self {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => *value = raw.to_string(),
            None => self.0.push((name.to_owned(), raw.to_string())),
        }
        self
    }

    /// Adds a claim, though one of that name be there.
    pub fn and(mut self, name: &str, raw: impl ToString) -> Self {
        self.0.push((name.to_owned(), raw.to_string()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    pub fn text(&self) -> String {
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, raw)| format!("\"{name}\":{raw}"))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    /// Under the honest EdDSA header and key.
    pub fn signed(&self) -> String {
        signed(EDDSA, self.text())
    }
}

pub fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// All that the vault does with a token before it believes it.
pub fn judge(token: &str, tenant: &Tenant) -> Result<Token, TokenError> {
    let token = Token::parse(token)?;
    token.check_signature(tenant, &binding::vault_audience(FLEET))?;
    token.check_times(UnixMs(NOW_S * 1000), LIFE_MAX_MS)?;
    Ok(token)
}

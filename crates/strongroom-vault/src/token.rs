//! Vault tokens: the strict JWT profile (DESIGN §4 identity; REVIEW M3, C7).
//!
//! A token says who a user is. Everything in it is an attacker's choice until its signature is
//! verified under a key from the replicated state, and that key alone fixes the algorithm.
//!
//! Accepted: three canonical, unpadded base64url parts, at most 2,048 bytes; a header of exactly
//! `alg`, `kid` and optionally `typ`; claims `iss`, `sub`, `aud` (one string), `exp`, `iat` (whole
//! seconds), optionally `nbf` and `cnf` ({"jwk": Ed25519}); other claims are skipped, once they are
//! JSON by the same strict rules. Refused: everything else, duplicate keys at any level, escapes in
//! names and in strings we read, and a life over the policy's. `vectors/tokens.json` has a token
//! for each rule.

mod json;

use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use json::{Reader, Value};
use strongroom_crypto::statement::{JwsAlg, verify_jws};
use strongroom_wire::limits::{CLOCK_SKEW_MS, ISSUER_BYTES_MAX, TOKEN_BYTES_MAX};
use strongroom_wire::tenant::{Tenant, TokenAlgorithm};
use strongroom_wire::{PublicKey, UnixMs};

/// Why a token was refused. What leaves the boundary is one refusal for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// `alg` is not the one that the tenant's key fixes, or none we know.
    Algorithm,
    /// `aud` is another fleet.
    Audience,
    /// Not three parts of canonical base64url.
    Encoding,
    /// Over: `exp` has passed.
    Expired,
    /// `iat` or `nbf` is in the future.
    FromTheFuture,
    /// A header parameter that is not allowed.
    Header,
    /// `iss` is another tenant.
    Issuer,
    /// Not strict JSON, a duplicate key, or a claim of the wrong type.
    Json,
    /// No key of that `kid` in the tenant.
    KeyUnknown,
    /// Valid for longer than the policy allows.
    LifeTooLong,
    /// A claim that must be there is not.
    Missing,
    /// No `cnf`, and the tenant is not a bearer tenant.
    NotBound,
    /// The signature does not hold.
    Signature,
    /// Longer than 2,048 bytes.
    TooLong,
}

/// A token in good form. Its signature is not verified yet.
pub struct Token {
    signing_input: Vec<u8>,
    signature: Vec<u8>,
    algorithm: TokenAlgorithm,
    kid: String,
    claims: Claims,
}

#[derive(Default)]
struct Claims {
    issuer: Option<String>,
    subject: Option<String>,
    audience: Option<String>,
    expires_s: Option<u64>,
    issued_s: Option<u64>,
    not_before_s: Option<u64>,
    confirmation: Option<PublicKey>,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// [`TokenError`], for anything outside the profile.
    pub fn parse(token: &str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Encoding);
        };
        let signing_input = token.as_bytes().get(..header.len() + 1 + claims.len());
        let signing_input = signing_input.ok_or(TokenError::Encoding)?.to_vec();
        let (algorithm, kid) = read_header(&base64(header)?)?;
        let claims = read_claims(&base64(claims)?)?;
        let present = claims.expires_s.is_some() && claims.issued_s.is_some();
        if !present || claims.audience.is_none() {
            return Err(TokenError::Missing);
        }
        for name in [&claims.issuer, &claims.subject] {
            let length = name.as_ref().ok_or(TokenError::Missing)?.len();
            if !(1..=ISSUER_BYTES_MAX).contains(&length) {
                return Err(TokenError::Json);
            }
        }
        let signature = base64(signature)?;
        Ok(Self {
            signing_input,
            signature,
            algorithm,
            kid,
            claims,
        })
    }

    /// `iss`.
    pub fn issuer(&self) -> &str {
        self.claims.issuer.as_deref().unwrap_or_default()
    }

    /// `sub`: stable and never reused, says the tenant.
    pub fn subject(&self) -> &str {
        self.claims.subject.as_deref().unwrap_or_default()
    }

    /// The key whose holder may use the token.
    pub fn cnf(&self) -> Option<PublicKey> {
        self.claims.confirmation
    }

    /// Checks issuer, key, signature, audience and binding.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn check_signature(&self, tenant: &Tenant, audience: &str) -> Result<(), TokenError> {
        if self.issuer() != tenant.issuer {
            return Err(TokenError::Issuer);
        }
        let key = tenant.keys.iter().find(|key| key.kid == self.kid);
        let key = key.ok_or(TokenError::KeyUnknown)?;
        if key.algorithm != self.algorithm {
            return Err(TokenError::Algorithm);
        }
        if self.claims.audience.as_deref() != Some(audience) {
            return Err(TokenError::Audience);
        }
        if self.cnf().is_none() && !tenant.bearer {
            return Err(TokenError::NotBound);
        }
        let algorithm = match key.algorithm {
            TokenAlgorithm::EdDsa => JwsAlg::EdDsa,
            TokenAlgorithm::Es256 => JwsAlg::Es256,
        };
        verify_jws(algorithm, &key.public, &self.signing_input, &self.signature)
            .map_err(|_| TokenError::Signature)
    }

    /// Checks the times against the fleet's.
    ///
    /// # Errors
    /// [`TokenError::Expired`], [`TokenError::FromTheFuture`], [`TokenError::LifeTooLong`].
    pub fn check_times(&self, now: UnixMs, life_max_ms: u64) -> Result<(), TokenError> {
        let ms = |seconds: Option<u64>| seconds.unwrap_or_default().saturating_mul(1000);
        let (expires, issued) = (ms(self.claims.expires_s), ms(self.claims.issued_s));
        if expires <= now.0 {
            return Err(TokenError::Expired);
        }
        let soon = now.plus(CLOCK_SKEW_MS).0;
        if issued > soon || ms(self.claims.not_before_s) > soon {
            return Err(TokenError::FromTheFuture);
        }
        if expires.saturating_sub(issued) > life_max_ms {
            return Err(TokenError::LifeTooLong);
        }
        Ok(())
    }
}

fn base64(part: &str) -> Result<Vec<u8>, TokenError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| TokenError::Encoding)
}

fn read_header(bytes: &[u8]) -> Result<(TokenAlgorithm, String), TokenError> {
    let (mut algorithm, mut kid) = (None, None);
    Reader::object(bytes, |name, value| {
        match (name, value) {
            ("alg", Value::Text("EdDSA")) => algorithm = Some(TokenAlgorithm::EdDsa),
            ("alg", Value::Text("ES256")) => algorithm = Some(TokenAlgorithm::Es256),
            ("alg", _) => return Err(TokenError::Algorithm),
            ("kid", Value::Text(text)) if !text.is_empty() => kid = Some(String::from(text)),
            ("typ", Value::Text("JWT")) => {}
            // `crit`, `jwk`, `jku`, `x5*` and whatever else would steer verification.
            _ => return Err(TokenError::Header),
        }
        Ok(())
    })?;
    Ok((
        algorithm.ok_or(TokenError::Missing)?,
        kid.ok_or(TokenError::Missing)?,
    ))
}

fn read_claims(bytes: &[u8]) -> Result<Claims, TokenError> {
    let mut claims = Claims::default();
    Reader::object(bytes, |name, value| {
        match (name, value) {
            ("iss", Value::Text(text)) => claims.issuer = Some(String::from(text)),
            ("sub", Value::Text(text)) => claims.subject = Some(String::from(text)),
            ("aud", Value::Text(text)) => claims.audience = Some(String::from(text)),
            ("exp", Value::Number(seconds)) => claims.expires_s = Some(seconds),
            ("iat", Value::Number(seconds)) => claims.issued_s = Some(seconds),
            ("nbf", Value::Number(seconds)) => claims.not_before_s = Some(seconds),
            ("cnf", Value::Object(bytes)) => claims.confirmation = Some(read_cnf(bytes)?),
            ("iss" | "sub" | "aud" | "exp" | "iat" | "nbf" | "cnf", _) => {
                return Err(TokenError::Json);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(claims)
}

fn read_cnf(bytes: &[u8]) -> Result<PublicKey, TokenError> {
    let mut key = None;
    Reader::object(bytes, |name, value| match (name, value) {
        ("jwk", Value::Object(bytes)) => {
            key = Some(read_jwk(bytes)?);
            Ok(())
        }
        _ => Err(TokenError::Json),
    })?;
    key.ok_or(TokenError::Missing)
}

fn read_jwk(bytes: &[u8]) -> Result<PublicKey, TokenError> {
    let (mut okp, mut ed25519, mut x) = (false, false, None);
    Reader::object(bytes, |name, value| {
        match (name, value) {
            ("kty", Value::Text("OKP")) => okp = true,
            ("crv", Value::Text("Ed25519")) => ed25519 = true,
            ("x", Value::Text(text)) => {
                let bytes = base64(text)?;
                x = Some(PublicKey(bytes.try_into().map_err(|_| TokenError::Json)?));
            }
            _ => return Err(TokenError::Json),
        }
        Ok(())
    })?;
    x.filter(|_| okp && ed25519).ok_or(TokenError::Json)
}

//! Admission: who may put a request before the HSM at all (DESIGN §4, §11).
//!
//! The admission token keeps strangers from the HSM's time; it protects no secret. The vault token
//! inside the envelope is verified by the HSM. Unknown tenants, unknown keys and exhausted rates
//! are refused: nothing here fails open.

use crate::rates::{ACCOUNTS_MAX, Rates};
use crate::store::{Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use strongroom_crypto::statement::{self, Label};
use strongroom_wire::limits::TOKEN_BYTES_MAX;
use strongroom_wire::tenant::{
    IssuerKey, SignedTenantChange, Tenant, TenantChange, TenantRefusal, TokenAlgorithm,
};
use strongroom_wire::{FleetId, PublicKey, binding, decode};

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token, or not a good one.
    Token,
    /// Too many requests; try again after this many seconds.
    Rate(u64),
}

struct Known {
    version: u64,
    root: PublicKey,
    keys: Vec<(String, Algorithm, DecodingKey)>,
    rates: Arc<Rates>,
}

/// The tenants in clear, with their rates.
pub struct Admission {
    audience: String,
    admin: PublicKey,
    tenants: RwLock<HashMap<String, Arc<Known>>>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    /// One string: a token for two audiences would be good here and as a vault token elsewhere.
    #[serde(rename = "aud")]
    _audience: String,
}

impl Admission {
    /// For the node in front of that fleet, whose tenants `admin` creates.
    pub fn new(fleet: FleetId, admin: PublicKey) -> Self {
        Self {
            audience: binding::admission_audience(fleet),
            admin,
            tenants: RwLock::default(),
        }
    }

    /// Takes the tenants as the store has them. Rates go on where they were: a change of keys gives
    /// nobody a fresh quota.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let stored = store.tenants()?;
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for tenant in stored {
            let known = tenants.get(&tenant.issuer);
            if known.is_some_and(|known| known.version == tenant.version) {
                continue;
            }
            let rates = known.map(|known| known.rates.clone()).unwrap_or_else(|| {
                let rates = (tenant.account_rate, tenant.tenant_rate);
                Arc::new(Rates::new(rates.0, rates.1, ACCOUNTS_MAX))
            });
            let known = Known::new(&tenant, rates);
            tenants.insert(tenant.issuer, Arc::new(known));
        }
        Ok(())
    }

    fn known(&self, issuer: &str) -> Option<Arc<Known>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(issuer).cloned()
    }

    /// Admits the holder of a token, within its rates.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(&self, token: &str) -> Result<(), Denied> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::Token);
        }
        let claimed = unverified(token).ok_or(Denied::Token)?;
        let known = self.known(&claimed.iss).ok_or(Denied::Token)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| Denied::Token)?;
        if header.crit.is_some() {
            return Err(Denied::Token);
        }
        // The key fixes the algorithm; the header only has to agree.
        let mut keys = known.keys.iter();
        let key = keys.find(|(name, _, _)| Some(name) == header.kid.as_ref());
        let (_, algorithm, key) = key.ok_or(Denied::Token)?;
        let mut validation = Validation::new(*algorithm);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&claimed.iss]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 60;
        let verified = jsonwebtoken::decode::<Claims>(token, key, &validation);
        let claims = verified.map_err(|_| Denied::Token)?.claims;
        known.rates.take(&claims.sub).map_err(Denied::Rate)
    }

    /// Whether the key that may make this change signed it. The HSM checks the same and decides;
    /// here it keeps strangers, who need no token for this, from the HSM's time.
    ///
    /// # Errors
    /// What the HSM would say.
    pub fn check_change(&self, signed: &SignedTenantChange) -> Result<(), TenantRefusal> {
        let change: TenantChange = decode(&signed.change).map_err(|_| TenantRefusal::Invalid)?;
        let (signer, label) = match &change {
            TenantChange::Create { .. } => (self.admin, Label::TenantCreate),
            TenantChange::Keys { issuer, .. } => {
                let known = self.known(issuer).ok_or(TenantRefusal::Unknown)?;
                (known.root, Label::TenantKeys)
            }
        };
        statement::verify(&signer.0, label, &signed.change, &signed.signature.0)
            .map_err(|_| TenantRefusal::WrongSigner)
    }
}

impl Known {
    fn new(tenant: &Tenant, rates: Arc<Rates>) -> Self {
        Self {
            version: tenant.version,
            root: tenant.root,
            keys: tenant.keys.iter().filter_map(decoding).collect(),
            rates,
        }
    }
}

fn decoding(key: &IssuerKey) -> Option<(String, Algorithm, DecodingKey)> {
    let part = |range| Some(URL_SAFE_NO_PAD.encode(key.public.get(range)?));
    let (algorithm, decoding) = match key.algorithm {
        TokenAlgorithm::EdDsa => {
            let key = DecodingKey::from_ed_components(&part(0..32)?);
            (Algorithm::EdDSA, key)
        }
        TokenAlgorithm::Es256 => {
            let key = DecodingKey::from_ec_components(&part(1..33)?, &part(33..65)?);
            (Algorithm::ES256, key)
        }
    };
    Some((key.kid.clone(), algorithm, decoding.ok()?))
}

fn unverified(token: &str) -> Option<Claims> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// The tenant as an accepted change leaves it; none if the store never had it.
///
/// # Errors
/// [`StoreError`].
pub fn changed(store: &Store, change: TenantChange) -> Result<Option<Tenant>, StoreError> {
    let (issuer, version, keys) = match change {
        TenantChange::Create { tenant, .. } => return Ok(Some(tenant)),
        TenantChange::Keys {
            issuer,
            version,
            keys,
            ..
        } => (issuer, version, keys),
    };
    let old = store.tenant(&issuer)?;
    Ok(old.map(|tenant| Tenant {
        version,
        keys,
        ..tenant
    }))
}

//! Admission: who may put a request before the HSM at all (DESIGN §4, §11).
//!
//! The admission token keeps strangers from the HSM's time; it protects no secret. The vault token
//! inside the envelope is verified by the HSM. Unknown tenants, unknown keys and exhausted rates
//! are refused: nothing here fails open.

use crate::store::{Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use strongroom_wire::limits::TOKEN_BYTES_MAX;
use strongroom_wire::tenant::{Tenant, TenantChange, TokenAlgorithm};
use strongroom_wire::{FleetId, binding};

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token, or not a good one.
    Token,
    /// Too many requests; try again after this many seconds.
    Rate(u64),
}

/// Accounts whose rate is remembered at once; beyond it, all but the recent are forgotten.
const ACCOUNTS_MAX: usize = 200_000;

struct Known {
    version: u64,
    keys: Vec<(String, Algorithm, DecodingKey)>,
    accounts: DefaultKeyedRateLimiter<u64>,
    all: DefaultKeyedRateLimiter<u8>,
}

/// The tenants in clear, with their rates.
pub struct Admission {
    audience: String,
    tenants: RwLock<HashMap<String, Arc<Known>>>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
}

impl Admission {
    /// For the node in front of that fleet.
    pub fn new(fleet: FleetId) -> Self {
        Self {
            audience: binding::admission_audience(fleet),
            tenants: RwLock::default(),
        }
    }

    /// Takes the tenants as the store has them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        for tenant in store.tenants()? {
            let same = tenants
                .get(&tenant.issuer)
                .is_some_and(|t| t.version == tenant.version);
            if !same {
                tenants.insert(tenant.issuer.clone(), Arc::new(Known::new(&tenant)));
            }
        }
        Ok(())
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
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.get(&claimed.iss).cloned().ok_or(Denied::Token)?;
        drop(tenants);
        let kid = jsonwebtoken::decode_header(token)
            .ok()
            .and_then(|header| header.kid);
        let key = known
            .keys
            .iter()
            .find(|(name, _, _)| Some(name) == kid.as_ref());
        let (_, algorithm, key) = key.ok_or(Denied::Token)?;
        let mut validation = Validation::new(*algorithm);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&claimed.iss]);
        validation.leeway = 60;
        let verified = jsonwebtoken::decode::<Claims>(token, key, &validation);
        let claims = verified.map_err(|_| Denied::Token)?.claims;
        known.within_rates(&claims.sub)
    }
}

impl Known {
    fn new(tenant: &Tenant) -> Self {
        let rate = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let keys = tenant.keys.iter().filter_map(|key| {
            let (algorithm, decoding) = match key.algorithm {
                TokenAlgorithm::EdDsa => {
                    let x = URL_SAFE_NO_PAD.encode(&key.public);
                    (Algorithm::EdDSA, DecodingKey::from_ed_components(&x).ok()?)
                }
                TokenAlgorithm::Es256 => {
                    let x = URL_SAFE_NO_PAD.encode(key.public.get(1..33)?);
                    let y = URL_SAFE_NO_PAD.encode(key.public.get(33..65)?);
                    (
                        Algorithm::ES256,
                        DecodingKey::from_ec_components(&x, &y).ok()?,
                    )
                }
            };
            Some((key.kid.clone(), algorithm, decoding))
        });
        Self {
            version: tenant.version,
            keys: keys.collect(),
            accounts: RateLimiter::keyed(Quota::per_minute(rate(tenant.account_rate))),
            all: RateLimiter::keyed(Quota::per_second(rate(tenant.tenant_rate))),
        }
    }

    fn within_rates(&self, subject: &str) -> Result<(), Denied> {
        let mut hash = DefaultHasher::new();
        subject.hash(&mut hash);
        if self.accounts.len() > ACCOUNTS_MAX {
            self.accounts.retain_recent();
        }
        self.all.check_key(&0).map_err(|_| Denied::Rate(1))?;
        self.accounts
            .check_key(&hash.finish())
            .map_err(|_| Denied::Rate(5))
    }
}

fn unverified(token: &str) -> Option<Claims> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// Keeps an accepted change for admission.
///
/// # Errors
/// [`StoreError`].
pub fn keep(store: &Store, change: TenantChange) -> Result<(), StoreError> {
    let tenant = match change {
        TenantChange::Create { tenant, .. } => Some(tenant),
        TenantChange::Keys {
            issuer,
            version,
            keys,
            ..
        } => {
            let old = store
                .tenants()?
                .into_iter()
                .find(|tenant| tenant.issuer == issuer);
            old.map(|tenant| Tenant {
                version,
                keys,
                ..tenant
            })
        }
    };
    tenant.map_or(Ok(()), |tenant| store.keep_tenant(&tenant))
}

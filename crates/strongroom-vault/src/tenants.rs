//! Changes of tenants (DESIGN §11, REVIEW C7): the admin key creates, the tenant's own root key
//! changes the keys that say who a user is.

use crate::keys::Keys;
use crate::platform::Platform;
use crate::propose::Decided;
use alloc::vec::Vec;
use strongroom_crypto::statement::{self, Label};
use strongroom_tree::PartialTrie;
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::{State, Write};
use strongroom_wire::frame::{HsmError, LeafBytes};
use strongroom_wire::tenant::{SignedTenantChange, Tenant, TenantChange, TenantRefusal};
use strongroom_wire::{Digest, RecordId, decode};

/// Decides a change on the proved leaf.
///
/// # Errors
/// [`HsmError`] for a lie of the host; the inner error is the answer to whoever signed the change.
pub fn decide(
    keys: &Keys,
    platform: &impl Platform,
    signed: &SignedTenantChange,
    root: &Digest,
    mut state: State,
    proof: &[u8],
    leaf: Option<LeafBytes>,
) -> Result<Result<Decided, TenantRefusal>, HsmError> {
    let mut trie = PartialTrie::verify(&root.0, proof).map_err(|_| HsmError::ProofInvalid)?;
    let Ok(change) = decode::<TenantChange>(&signed.change) else {
        return Ok(Err(TenantRefusal::Invalid));
    };
    let key = keys.tenant_key(change.issuer());
    let proved = trie.get(&key.0).map_err(|_| HsmError::ProofInvalid)?;
    let standing = match (proved, leaf) {
        (None, _) => None,
        (Some(digest), Some(LeafBytes(bytes))) if leaf_digest(&bytes).0 == digest => {
            Some(keys.open_tenant(&key, &bytes).ok_or(HsmError::LeafForged)?)
        }
        (Some(_), _) => return Err(HsmError::LeafForged),
    };
    let created = standing.is_none();
    let tenant = match changed(keys, signed, change, standing) {
        Ok(tenant) => tenant,
        Err(refusal) => return Ok(Err(refusal)),
    };
    state.tenants += u64::from(created);
    let leaf = keys.seal_tenant(&tenant, platform);
    trie.set(&key.0, leaf_digest(&leaf).0)
        .expect("the key was proved above");
    Ok(Ok(Decided {
        root: Digest(trie.root()),
        state,
        writes: Vec::from([Write {
            key: RecordId(key.0),
            leaf,
        }]),
        answers: Vec::new(),
        left_out: Vec::new(),
    }))
}

fn changed(
    keys: &Keys,
    signed: &SignedTenantChange,
    change: TenantChange,
    standing: Option<Tenant>,
) -> Result<Tenant, TenantRefusal> {
    let by = |signer: &[u8; 32], label| {
        statement::verify(signer, label, &signed.change, &signed.signature.0)
            .map_err(|_| TenantRefusal::WrongSigner)
    };
    let tenant = match change {
        TenantChange::Create { fleet, tenant } => {
            by(&keys.manifest.admin.0, Label::TenantCreate)?;
            if standing.is_some() {
                return Err(TenantRefusal::Exists);
            }
            if fleet != keys.fleet || tenant.version != 1 {
                return Err(TenantRefusal::Invalid);
            }
            tenant
        }
        TenantChange::Keys {
            fleet,
            version,
            keys: new,
            ..
        } => {
            let mut tenant = standing.ok_or(TenantRefusal::Unknown)?;
            by(&tenant.root.0, Label::TenantKeys)?;
            if fleet != keys.fleet {
                return Err(TenantRefusal::Invalid);
            }
            if Some(version) != tenant.version.checked_add(1) {
                return Err(TenantRefusal::StaleVersion);
            }
            tenant.version = version;
            tenant.keys = new;
            tenant
        }
    };
    if tenant.is_valid() {
        Ok(tenant)
    } else {
        Err(TenantRefusal::Invalid)
    }
}

//! Honest requests, for a test to change before it asks them.

use super::Host;
use strongroom_vault::Platform as _;
use strongroom_wire::frame::{Inspection, Request, Response};
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{Epoch, Handle, MemberId, TenantKey};

impl Host {
    /// The keys that an operation touches.
    pub fn keys_of(&self, handles: &[Handle]) -> Vec<[u8; 32]> {
        let operations = handles.iter().filter_map(|it| self.operations.get(it));
        operations
            .flat_map(|it| [Some(it.record.0), it.tenant.map(|tenant| tenant.0)])
            .flatten()
            .collect()
    }

    /// Honest: evaluate on the leaves of now.
    pub fn evaluation(&mut self, handle: Handle) -> Request {
        let operation = self.operations.get(&handle).copied();
        let record = operation.and_then(|it| self.leaf(&it.record.0));
        let tenant = operation.and_then(|it| it.tenant);
        Request::Evaluate {
            handle,
            record,
            tenant: tenant.and_then(|tenant| self.leaf(&tenant.0)),
        }
    }

    /// Honest: decide these, on proofs and leaves of now.
    pub fn proposal(&mut self, handles: &[Handle]) -> Request {
        let keys = self.keys_of(handles);
        Request::Propose {
            handles: handles.to_vec(),
            proof: self.prove(&keys),
            leaves: keys.iter().filter_map(|key| self.leaf(key)).collect(),
        }
    }

    /// Honest: seal everything that is not sealed yet.
    pub fn notarisation(&self) -> Request {
        let anchor = self.platform.anchor().ok().flatten();
        let tip = anchor.map(|it| it.tip);
        let chain = self.chain();
        let sealed = tip.and_then(|tip| chain.iter().position(|it| it.header.tip() == tip));
        let run = chain[sealed.map_or(0, |at| at + 1)..].to_vec();
        // All is sealed: have the newest said again.
        let again = || chain.last().cloned().into_iter().collect();
        Request::Notarise {
            run: if run.is_empty() { again() } else { run },
            start: None,
        }
    }

    /// Honest: release what the newest notarisation pays for.
    pub fn release(&self) -> Request {
        Request::Release {
            certificate: self.certificate.clone().into_iter().collect(),
        }
    }

    /// Honest: promise a new epoch to oneself.
    pub fn promising(&self) -> Request {
        Request::Promise {
            epoch: Epoch(self.epoch + 1),
            leader: MemberId(1),
            process: self.process,
        }
    }

    /// Honest: lead on the newest promise, from the tip that it names.
    ///
    /// # Panics
    /// If this host never saw that tip's entry.
    pub fn leading(&self) -> Request {
        let promises: Vec<_> = self.promise.clone().into_iter().collect();
        let anchor = self.platform.anchor().ok().flatten();
        let anchored = anchor.map(|it| it.tip);
        let tip = promises.first().map(|it| it.statement.tip).or(anchored);
        let start = self.places[&tip.expect("a member has an anchor").hash].clone();
        Request::Lead {
            epoch: Epoch(self.epoch),
            promises,
            start,
        }
    }

    /// Honest: go on where the anchor stands.
    ///
    /// # Panics
    /// If this host never saw the anchor's entry.
    pub fn resumption(&self) -> Request {
        let anchor = self.platform.anchor().expect("memory does not fail");
        let tip = anchor.expect("a member has an anchor").tip;
        Request::Resume {
            place: self.places[&tip.hash].clone(),
            certificate: Vec::new(),
        }
    }

    /// Honest: change a tenant.
    ///
    /// # Panics
    /// If the vault does not stand.
    pub fn tenancy(&mut self, issuer: &str, change: SignedTenantChange) -> Request {
        let key = self.tenant_key(issuer);
        Request::ProposeTenant {
            change,
            proof: self.prove(&[key.0]),
            leaf: self.leaf(&key.0),
        }
    }

    /// The trie key of a tenant.
    ///
    /// # Panics
    /// If the vault does not stand.
    pub fn tenant_key(&mut self, issuer: &str) -> TenantKey {
        let issuer = issuer.to_owned();
        match self.ask(Request::TenantKeyOf { issuer }) {
            Response::TenantKey(key) => key,
            other => panic!("a standing vault names tenants: {other:?}"),
        }
    }

    /// Numbers for the operator; none if the vault does not stand.
    pub fn inspect(&mut self) -> Option<Inspection> {
        match self.ask(Request::Inspect) {
            Response::Inspection(inspection) => Some(inspection),
            _ => None,
        }
    }
}

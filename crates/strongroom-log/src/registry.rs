//! What may be logged next: the auditor's rules, over everything that is in the log.
//!
//! 1. A genesis begins a fleet once. Every later manifest is the next of its fleet: one epoch more,
//!    the digest of the one before, nowhere looser.
//! 2. The operator signs it, and as many officers as the manifest *before* it asks for (the genesis
//!    asks for itself). Without officers an operator's key cannot be replaced.
//! 3. A transcript belongs to a logged manifest, one to each.
//! 4. A version is released once, and a measurement has one version.
//! 5. The same bytes again are no new entry: their place is named.
//!
//! So of any fleet and epoch there is one manifest for ever, and a client that finds its own in the
//! log knows that nobody was shown another one. Evidence of platforms is not verified here yet: the
//! auditor does that before it lets somebody submit.

use crate::entry::{Entry, Release, SignedManifest, Transcript};
use crate::merkle::{Hash, leaf_hash};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_crypto::statement::{Label, verify};
use strongroom_wire::manifest::{Manifest, ManifestError};
use strongroom_wire::{Digest, FleetId, Malformed, PublicKey, decode};

/// Why an entry is not logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not the next of its fleet.
    #[error("epoch {epoch} is not the next one of this fleet, which is {next}")]
    Epoch {
        /// Given.
        epoch: u64,
        /// The only one that may come.
        next: u64,
    },
    /// Not an entry.
    #[error("not an entry: {0}")]
    Malformed(Malformed),
    /// A manifest that breaks a rule of its own, or is looser than the one before.
    #[error("the manifest is not sound: {0:?}")]
    Manifest(ManifestError),
    /// The operator has not signed it.
    #[error("the operator's signature does not hold")]
    Operator,
    /// Another operator, and no officers who could have decided that.
    #[error("a fleet without officers keeps its operator's key")]
    OperatorChanged,
    /// Too few officers, one of them twice, a stranger, or a signature that does not hold.
    #[error("{have} officers' signatures hold, {needed} are needed, all given ones must hold")]
    Officers {
        /// That hold, of distinct officers.
        have: usize,
        /// By the manifest before.
        needed: usize,
    },
    /// The digest of the manifest before is another.
    #[error("the manifest does not follow the one that is logged: its `previous` is another")]
    Previous,
    /// That version, or that measurement, is released already.
    #[error("that version or measurement was released already")]
    Released,
    /// This manifest has a transcript already.
    #[error("that manifest has a transcript already")]
    TranscriptExists,
    /// No manifest of that fleet and epoch is logged.
    #[error("no manifest of that fleet and epoch is logged")]
    Unknown,
}

/// An entry that may be appended next, and now: nothing else may come between.
#[derive(Debug)]
pub struct Admitted(Vec<u8>);

impl Admitted {
    /// The entry's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What to do with an entry.
#[derive(Debug)]
pub enum Verdict {
    /// Append it.
    New(Admitted),
    /// It is logged already, at this index.
    Known(u64),
}

/// Everything that is logged, as far as the rules need it.
#[derive(Debug, Default)]
pub struct Registry {
    leaves: BTreeMap<Hash, u64>,
    /// The newest manifest of each fleet.
    fleets: BTreeMap<FleetId, Manifest>,
    transcripts: BTreeSet<(FleetId, u64)>,
    versions: BTreeSet<String>,
    measurements: BTreeSet<Digest>,
}

impl Registry {
    /// Judges an entry.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn judge(&self, bytes: &[u8]) -> Result<Verdict, Denied> {
        if let Some(index) = self.leaves.get(&leaf_hash(bytes)) {
            return Ok(Verdict::Known(*index));
        }
        match Entry::parse(bytes).map_err(Denied::Malformed)? {
            Entry::Manifest(signed) => self.manifest(&signed)?,
            Entry::Transcript(transcript) => self.transcript(&transcript)?,
            Entry::Release(release) => self.release(&release)?,
        }
        Ok(Verdict::New(Admitted(bytes.to_vec())))
    }

    /// Takes up what stands in the log at an index.
    ///
    /// # Errors
    /// [`Malformed`]: no entry of ours, so the log is another.
    pub fn record(&mut self, index: u64, bytes: &[u8]) -> Result<(), Malformed> {
        match Entry::parse(bytes)? {
            Entry::Manifest(signed) => {
                let manifest: Manifest = decode(&signed.manifest)?;
                self.fleets.insert(manifest.fleet_id(), manifest);
            }
            Entry::Transcript(transcript) => {
                let of = (transcript.fleet, transcript.epoch);
                self.transcripts.insert(of);
            }
            Entry::Release(release) => {
                self.versions.insert(release.version);
                self.measurements.insert(release.measurement);
            }
        }
        self.leaves.entry(leaf_hash(bytes)).or_insert(index);
        Ok(())
    }

    fn manifest(&self, signed: &SignedManifest) -> Result<(), Denied> {
        let manifest: Manifest = decode(&signed.manifest).map_err(Denied::Malformed)?;
        manifest.check().map_err(Denied::Manifest)?;
        let before = self.fleets.get(&manifest.fleet_id());
        let next = before.map_or(0, |before| before.epoch.saturating_add(1));
        if manifest.epoch != next {
            let epoch = manifest.epoch;
            return Err(Denied::Epoch { epoch, next });
        }
        if let Some(before) = before {
            follows(&manifest, before)?;
        }
        let operator = &manifest.operator.0;
        verify(
            operator,
            Label::Manifest,
            &signed.manifest,
            &signed.operator.0,
        )
        .map_err(|_| Denied::Operator)?;
        approved(signed, before.unwrap_or(&manifest))
    }

    fn transcript(&self, transcript: &Transcript) -> Result<(), Denied> {
        let newest = self.fleets.get(&transcript.fleet).ok_or(Denied::Unknown)?;
        if transcript.epoch > newest.epoch {
            return Err(Denied::Unknown);
        }
        match self
            .transcripts
            .contains(&(transcript.fleet, transcript.epoch))
        {
            true => Err(Denied::TranscriptExists),
            false => Ok(()),
        }
    }

    fn release(&self, release: &Release) -> Result<(), Denied> {
        let released = self.versions.contains(&release.version)
            || self.measurements.contains(&release.measurement);
        match released {
            true => Err(Denied::Released),
            false => Ok(()),
        }
    }
}

fn follows(manifest: &Manifest, before: &Manifest) -> Result<(), Denied> {
    if manifest.previous != Some(before.digest()) {
        return Err(Denied::Previous);
    }
    let follows = manifest.check_follows(before, before.greatest_member());
    follows.map_err(Denied::Manifest)?;
    if manifest.operator != before.operator && before.officers_threshold == 0 {
        return Err(Denied::OperatorChanged);
    }
    Ok(())
}

/// Every signature given must be of an officer, hold, and be the only one of that officer.
fn approved(signed: &SignedManifest, deciding: &Manifest) -> Result<(), Denied> {
    let needed = usize::from(deciding.officers_threshold);
    let mut seen: BTreeSet<PublicKey> = BTreeSet::new();
    let mut all_hold = true;
    for given in &signed.officers {
        let key = &given.officer.0;
        let holds = verify(key, Label::Officers, &signed.manifest, &given.signature.0);
        let counts = holds.is_ok() && deciding.officers.contains(&given.officer);
        all_hold &= counts && seen.insert(given.officer);
    }
    let have = seen.len();
    match all_hold && have >= needed {
        true => Ok(()),
        false => Err(Denied::Officers { have, needed }),
    }
}

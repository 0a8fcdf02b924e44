//! `fleet add`, `fleet remove`, `fleet replace`: another manifest, signed by officers and operator,
//! that the fleet puts in force itself (DESIGN §6, reconfigure).

use super::{key_of, status};
use crate::cli::{Added, Removed, Signers};
use crate::output::{Failure, Kind, Output};
use crate::profile::Profile;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use strongroom_client::Fleet;
use strongroom_client::transport::{Http, TransportError};
use strongroom_client::wire::entry::OfficerSignature;
use strongroom_client::wire::manifest::{Manifest, Member, PlatformClass, SignedManifest};
use strongroom_client::wire::{Digest, MemberId, PublicKey, Signature, encode};
use strongroom_crypto::statement::{self, Label};
use strongroom_node::Joiner;

/// For joiners to copy the store, each time it is said so.
const PATIENCE: Duration = Duration::from_secs(3600);

/// `fleet add`.
pub(super) async fn add(profile: &Profile, added: &Added, output: Output) -> Result<(), Failure> {
    let change = Change {
        joiners: &added.joiner,
        site: added.site.as_deref(),
        leaves: &[],
    };
    changed(profile, &change, &added.signers, output).await
}

/// `fleet remove`.
pub(super) async fn remove(
    profile: &Profile,
    removed: &Removed,
    output: Output,
) -> Result<(), Failure> {
    let change = Change {
        joiners: &[],
        site: None,
        leaves: &removed.member,
    };
    changed(profile, &change, &removed.signers, output).await
}

/// `fleet replace`: both in one change.
pub(super) async fn replace(
    profile: &Profile,
    (removed, added): (&[u8], &Added),
    output: Output,
) -> Result<(), Failure> {
    let change = Change {
        joiners: &added.joiner,
        site: added.site.as_deref(),
        leaves: removed,
    };
    changed(profile, &change, &added.signers, output).await
}

/// Who comes and who goes.
struct Change<'a> {
    joiners: &'a [std::path::PathBuf],
    site: Option<&'a str>,
    leaves: &'a [u8],
}

async fn changed(
    profile: &Profile,
    change: &Change<'_>,
    signers: &Signers,
    output: Output,
) -> Result<(), Failure> {
    let (nodes, any) = profile.nodes()?;
    let bundle = any.get("/v1/fleet").await;
    let bundle = bundle.map_err(strongroom_client::Error::from)?;
    let fleet = Fleet::from_bundle(&bundle, &profile.roots()?);
    let fleet = fleet.map_err(strongroom_client::Error::from)?;
    let in_force = fleet.manifest();
    let greatest = greatest_member(&nodes, in_force).await;
    let next = next(in_force, change, greatest)?;
    let signed = signed(&next, signers)?;
    let began = Instant::now();
    loop {
        match any.post("/v1/members", None, &encode(&signed)).await {
            Ok(_) => break,
            Err(TransportError::Busy) if began.elapsed() < PATIENCE => {
                output.note("The fleet is busy, or the new member copies the store: asking again.");
            }
            Err(error) => return Err(strongroom_client::Error::from(error).into()),
        }
    }
    let (n, q) = (next.members.len(), next.quorum());
    let members: Vec<u8> = next.members.iter().map(|slot| slot.id.0).collect();
    let answer = json!({
        "manifest_epoch": next.epoch, "members": members, "quorum": q, "may_fail": n - q,
    });
    output.answer(&answer, || {
        let members = members.iter().map(u8::to_string).collect::<Vec<_>>();
        let spare = match n - q {
            0 => "none of them may fail: add another before you rely on it".to_owned(),
            1 => "one of them may fail".to_owned(),
            several => format!("{several} of them may fail"),
        };
        format!(
            "Manifest {} is in force: members {}. {q} of {n} are needed; {spare}.",
            next.epoch,
            members.join(", ")
        )
    });
    Ok(())
}

/// The greatest number that any member ever had, as far as the nodes say; the fleet's HSMs know.
async fn greatest_member(nodes: &[(String, Http)], in_force: &Manifest) -> MemberId {
    let asked = nodes.iter().map(|(_, http)| status(http));
    let answers = futures::future::join_all(asked).await;
    let said = answers.into_iter().flatten();
    let said = said.filter_map(|status| status.applied?.greatest_member);
    let greatest = said.map(MemberId).max().unwrap_or_default();
    greatest.max(in_force.greatest_member())
}

/// The manifest after that change.
fn next(in_force: &Manifest, change: &Change<'_>, greatest: MemberId) -> Result<Manifest, Failure> {
    let mut next = in_force.clone();
    next.fleet = Some(in_force.fleet_id());
    next.epoch += 1;
    next.previous = Some(in_force.digest());
    for leaves in change.leaves {
        if in_force.member(MemberId(*leaves)).is_none() {
            let words = format!("the fleet has no member {leaves}");
            return Err(Failure::usage(words));
        }
        next.members.retain(|slot| slot.id.0 != *leaves);
    }
    let mut number = greatest.0;
    for path in change.joiners {
        number = number
            .checked_add(1)
            .ok_or_else(|| Failure::usage("this fleet has had 255 members: begin a new one"))?;
        next.members
            .push(joiner(path, MemberId(number), change.site)?);
    }
    next.check_follows(in_force, greatest).map_err(|error| {
        let words = format!("the fleet may not become that: {error:?}");
        Failure::usage(words)
    })?;
    Ok(next)
}

fn joiner(path: &Path, id: MemberId, site: Option<&str>) -> Result<Member, Failure> {
    let named =
        |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| named(&error))?;
    let joiner: Joiner = serde_json::from_slice(&text).map_err(|error| named(&error))?;
    let bytes = |text: &str| {
        let bytes = hex::decode(text).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.ok_or_else(|| named(&"a key is not 32 bytes in hex"))
    };
    Ok(Member {
        id,
        identity: PublicKey(bytes(&joiner.identity)?),
        platform: joiner.platform,
        class: match joiner.class.as_str() {
            "none" => PlatformClass::None,
            "at-rest" => PlatformClass::AtRest,
            "isolating" => PlatformClass::Isolating,
            other => return Err(named(&format!("no such class: {other}"))),
        },
        measurement: Digest([0; 32]),
        site: site.map_or_else(|| format!("site-{id}"), str::to_owned),
        host: Digest(bytes(&joiner.host)?),
        address: Some(joiner.address),
    })
}

fn signed(manifest: &Manifest, signers: &Signers) -> Result<SignedManifest, Failure> {
    let bytes = encode(manifest);
    let mut officers = Vec::with_capacity(signers.officer.len());
    for path in &signers.officer {
        let key = key_of(path, "officer")?;
        officers.push(OfficerSignature {
            officer: PublicKey(key.public()),
            signature: Signature(statement::sign(&key, Label::Officers, &bytes)),
        });
    }
    let first = signers.officer.first();
    let operator = signers.operator.as_ref().or(first);
    let operator = operator.ok_or_else(|| Failure::usage("no officer signs"))?;
    let operator = key_of(operator, "operator")?;
    if PublicKey(operator.public()) != manifest.operator {
        let words = "the operator's key is not the one that the manifest names; see --operator";
        return Err(Failure::new(Kind::Usage, words));
    }
    Ok(SignedManifest {
        operator: Signature(statement::sign(&operator, Label::Manifest, &bytes)),
        manifest: bytes,
        officers,
    })
}

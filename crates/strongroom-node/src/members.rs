//! A change of members, at the leader: joiners are handed the secret and copy the store; then the
//! entry is proposed (DESIGN §6, reconfigure; §9).
//!
//! Whoever asks may ask again: what was done is not done twice, and a change that is in force
//! already is done.

use crate::api::Shared;
use crate::engine::Job;
use crate::forward::{Ask, Told};
use crate::join::Invite;
use crate::link::LinkError;
use crate::problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use strongroom_peers::Peers;
use strongroom_replica::next_manifest;
use strongroom_wire::entry::{Ready, Signed};
use strongroom_wire::frame::{HsmError, Request, Response};
use strongroom_wire::manifest::{Manifest, Member, SignedManifest};
use strongroom_wire::{MemberId, decode, encode};
use tokio::sync::oneshot;

/// For a joiner to be reached, and for each of its answers.
const PATIENCE: Duration = Duration::from_secs(3);

/// Puts another manifest in force, by the own HSM, which leads. Goes on when who asked has gone:
/// what was begun is best ended.
pub(crate) async fn change(shared: &Arc<Shared>, change: SignedManifest) -> Result<(), Problem> {
    let shared = shared.clone();
    let changed = tokio::spawn(async move { changed(&shared, change).await });
    changed.await.unwrap_or_else(|_| Err(Problem::fault()))
}

async fn changed(shared: &Shared, change: SignedManifest) -> Result<(), Problem> {
    let _one = shared
        .reconfiguring
        .try_lock()
        .map_err(|_| Problem::busy())?;
    let roster = shared.rosters.now();
    if roster.manifest.digest() == digest(&change)? {
        return Ok(());
    }
    let greatest = greatest_member(shared, &roster.manifest)?;
    let next = next_manifest(&roster.manifest, &change);
    let next = next.filter(|next| next.check_follows(&roster.manifest, greatest).is_ok());
    let Some(next) = next else {
        return Err(Problem::members(
            "it does not follow the manifest in force, loosens it, gives a number away again, or \
             its officers' or operator's signatures do not hold",
        ));
    };
    let Some(line) = &shared.line else {
        let words = "the leader has no [peers] in node.toml, and cannot be joined";
        return Err(Problem::members(words));
    };
    shared.rosters.expect(next.clone());
    line.set(&shared.rosters.now());
    let joins = |slot: &&Member| roster.manifest.member(slot.id).is_none();
    let mut ready = Vec::new();
    for joiner in next.members.iter().filter(joins) {
        ready.push(taken_in(shared, &line.peers, &change, joiner).await?);
    }
    keeps_a_quorum(shared, &line.peers, &next)?;
    let (answer, answered) = oneshot::channel();
    let queued = shared.jobs.try_send(Job::Members(change, ready, answer));
    queued.map_err(|_| Problem::busy())?;
    let decided = answered.await.map_err(|_| Problem::lost())?;
    decided.map_err(|error| refused(shared, error))
}

/// This host looked at the change, and found nothing wrong with it. So its HSM knows more: of a
/// change that is under way, perhaps this very one. Whoever asks again hears what became of it.
fn refused(shared: &Shared, error: HsmError) -> Problem {
    tracing::warn!(member = %shared.member, %error, "the HSM refused a change of members");
    Problem::lost()
}

/// The greatest number that a member ever had.
fn greatest_member(shared: &Shared, in_force: &Manifest) -> Result<MemberId, Problem> {
    let live = shared.live.borrow().clone().ok_or_else(Problem::lost)?;
    let standing = live.store.standing().map_err(|_| Problem::fault())?;
    let greatest = standing.and_then(|standing| standing.state.greatest_member);
    Ok(greatest.unwrap_or_else(|| in_force.greatest_member()))
}

fn digest(change: &SignedManifest) -> Result<strongroom_wire::Digest, Problem> {
    let manifest: Manifest = decode(&change.manifest).map_err(|_| Problem::malformed())?;
    Ok(manifest.digest())
}

/// Hands the secret to a joiner; it is ready when it has the store as well.
async fn taken_in(
    shared: &Shared,
    peers: &Peers,
    change: &SignedManifest,
    joiner: &Member,
) -> Result<Signed<Ready>, Problem> {
    let id = joiner.id;
    let address = joiner.address.as_deref().unwrap_or("?");
    let unreached = || {
        Problem::members(&format!(
            "member {id}, which is to join, is not reached at {address}: does it run, with --join?"
        ))
    };
    let reached = tokio::time::timeout(PATIENCE, peers.until_reachable(id)).await;
    if reached != Ok(true) {
        return Err(unreached());
    }
    let asked = async |ask: Ask| {
        let told = peers.ask(id, encode(&ask), PATIENCE).await;
        let told = told.map_err(|_| unreached())?;
        match decode::<Told>(&told) {
            Ok(Told::Problem(parts)) => Err(Problem::from_parts(parts)),
            Ok(told) => Ok(told),
            Err(_) => Err(Problem::fault()),
        }
    };
    let Told::Drafted(drafted) = asked(Ask::Draft).await? else {
        return Err(unreached());
    };
    let live = shared.live.borrow().clone().ok_or_else(Problem::lost)?;
    let hand_over = Request::HandOver {
        member: id,
        key: drafted.handover,
        signature: drafted.signature,
        next: Some(change.clone()),
    };
    let secret = match live.link.call(&hand_over).await {
        Ok(Response::HandedOver { secret }) => secret,
        Ok(_) => return Err(LinkError::Unexpected.into()),
        Err(LinkError::Hsm(HsmError::HandoverInvalid)) => {
            let words = format!("member {id} is not the one that its manifest names");
            return Err(Problem::members(&words));
        }
        Err(LinkError::Hsm(error)) => return Err(refused(shared, error)),
        Err(error) => return Err(error.into()),
    };
    let invite = Invite {
        bundle: shared.rosters.now().bundle.clone(),
        change: change.clone(),
        secret,
    };
    match asked(Ask::Invite(invite)).await? {
        Told::Ready(ready) => Ok(ready),
        _ => Err(Problem::fault()),
    }
}

/// A change that a quorum of the new members cannot seal would stop the fleet until it can.
fn keeps_a_quorum(shared: &Shared, peers: &Peers, next: &Manifest) -> Result<(), Problem> {
    let reached = |slot: &&Member| slot.id == shared.member || peers.reachable(slot.id);
    let reached = next.members.iter().filter(reached).count();
    if reached >= next.quorum() {
        return Ok(());
    }
    let (n, q) = (next.members.len(), next.quorum());
    Err(Problem::members(&format!(
        "it would lose the majority: of its {n} members {reached} are reached, and {q} are needed"
    )))
}

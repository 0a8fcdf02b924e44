//! Any host takes any request; the leader carries it out (DESIGN §11).
//!
//! A request whose answer is lost on the way is sent again, the very same bytes, to whoever leads
//! then: the fleet answers a repeated request as it did the first time. So a client sees a change
//! of leader as a longer wait, and nothing else.
//!
//! Another host may lie: what it answers is sealed by an HSM to the client, or it is a problem,
//! which costs the client a retry.

use crate::api::{self, Shared};
use crate::join::{self, Invite, Invited};
use crate::link::LinkError;
use crate::members;
use crate::problem::Problem;
use axum::body::Bytes;
use minicbor::{Decode, Encode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_peers::{AskError, Asked};
use strongroom_wire::entry::{Ready, Signed, SignedClockChange};
use strongroom_wire::envelope::{Envelope, OpClass};
use strongroom_wire::frame::{Drafted, Request as HsmRequest, Response};
use strongroom_wire::manifest::SignedManifest;
use strongroom_wire::tenant::SignedTenantChange;
use strongroom_wire::{MemberId, decode, encode};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// What one host asks of another.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Ask {
    /// Carry out a client's request.
    #[n(0)]
    Envelope {
        /// As it came.
        #[cbor(n(0), with = "minicbor::bytes")]
        envelope: Vec<u8>,
        /// Its admission token, where the asker knows no such tenant: the leader may, an entry
        /// ahead of it. None where the asker admitted it.
        #[n(1)]
        token: Option<String>,
    },
    /// Carry out a change of a tenant.
    #[n(1)]
    Tenant(#[n(0)] SignedTenantChange),
    /// Carry out a change of the clock.
    #[n(3)]
    Clock(#[n(0)] SignedClockChange),
    /// A part of the store.
    #[n(2)]
    Copy(#[n(0)] crate::copy::Part),
    /// Put another manifest in force.
    #[n(4)]
    Members(#[n(0)] SignedManifest),
    /// Of one that is to join: what its HSM drafted.
    #[n(5)]
    Draft,
    /// The secret for one that is to join.
    #[n(6)]
    Invite(#[n(0)] Invite),
    /// The bundle in force.
    #[n(7)]
    Bundle,
}

/// The answer.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Told {
    /// For the client.
    #[n(0)]
    Answer(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A problem, for the client or the asker.
    #[n(1)]
    Problem(#[n(0)] (u16, String, String, Option<u64>, bool)),
    /// Done.
    #[n(2)]
    Done,
    /// To `Draft`.
    #[n(3)]
    Drafted(#[n(0)] Drafted),
    /// To `Invite`.
    #[n(4)]
    Ready(#[n(0)] Signed<Ready>),
}

/// How long a leader may take for a request of another host.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for one that may not lead at all.
const GUESS: Duration = Duration::from_millis(500);

/// Between two tries at the same leader.
const PAUSE: Duration = Duration::from_millis(100);

/// One operation, here or at the leader, until it is answered or its time is over.
pub(crate) async fn carried_out(
    shared: Arc<Shared>,
    class: OpClass,
    envelope: Bytes,
    token: Option<String>,
    _place: OwnedSemaphorePermit,
) -> Result<Vec<u8>, Problem> {
    let ask = encode(&Ask::Envelope {
        envelope: envelope.to_vec(),
        token: token.clone(),
    });
    let here = || async {
        // It leads by now: the tenant it did not know may have come.
        if let Some(token) = &token {
            shared.admission.admit(token)?;
        }
        here(&shared, class, envelope.clone()).await
    };
    at_leader(&shared, ask, here, |told| match told {
        Told::Answer(answer) => Some(answer),
        _ => None,
    })
    .await
}

/// A change of a tenant, here or at the leader.
pub(crate) async fn tenant_changed(
    shared: &Arc<Shared>,
    change: SignedTenantChange,
) -> Result<(), Problem> {
    let ask = encode(&Ask::Tenant(change.clone()));
    at_leader(
        shared,
        ask,
        || api::change(shared, change.clone()),
        |told| matches!(told, Told::Done).then_some(()),
    )
    .await
}

/// A change of the clock, here or at the leader.
pub(crate) async fn clock_changed(
    shared: &Arc<Shared>,
    change: SignedClockChange,
) -> Result<(), Problem> {
    let ask = encode(&Ask::Clock(change.clone()));
    at_leader(
        shared,
        ask,
        || api::set_clock(shared, change.clone()),
        |told| matches!(told, Told::Done).then_some(()),
    )
    .await
}

/// A change of members, here or at the leader.
pub(crate) async fn members_changed(
    shared: &Arc<Shared>,
    change: SignedManifest,
) -> Result<(), Problem> {
    let ask = encode(&Ask::Members(change.clone()));
    at_leader(
        shared,
        ask,
        || members::change(shared, change.clone()),
        |told| matches!(told, Told::Done).then_some(()),
    )
    .await
}

async fn here(shared: &Shared, class: OpClass, envelope: Bytes) -> Result<Vec<u8>, Problem> {
    let live = shared.live.borrow().clone().ok_or_else(Problem::lost)?;
    api::operate(live, shared.jobs.clone(), class, envelope).await
}

async fn at_leader<T, F: Future<Output = Result<T, Problem>>>(
    shared: &Shared,
    ask: Vec<u8>,
    here: impl Fn() -> F,
    answer: impl Fn(Told) -> Option<T>,
) -> Result<T, Problem> {
    let mut leaders = shared.leader.clone();
    let ends = Instant::now() + shared.request;
    let mut guesses = shared.others().into_iter().cycle();
    while Instant::now() < ends {
        let known = *leaders.borrow_and_update();
        // Nobody leads, as far as this host knows. Another may know better: the driver of this one
        // may hang.
        let leader = known.or_else(|| guesses.next());
        let carried_out = async {
            match leader {
                // Alone there is nobody else to wait for.
                None => here().await,
                Some(leader) if leader == shared.member => here().await,
                Some(leader) => {
                    let patience = if known.is_some() { PATIENCE } else { GUESS };
                    let told = asked(shared, leader, ask.clone(), patience).await?;
                    answer(told).ok_or_else(Problem::fault)
                }
            }
        };
        let decided = tokio::select! {
            decided = carried_out => decided,
            () = moved(&mut leaders, leader, shared.member) => continue,
        };
        match decided {
            Err(problem) if problem.is_lost() && shared.peers.is_some() => {
                let _ = tokio::time::timeout(PAUSE, leaders.changed()).await;
            }
            decided => return decided,
        }
    }
    Err(Problem::busy())
}

/// Until somebody else leads than whoever a request is with; or nobody, where it is with this host:
/// its driver hangs then.
async fn moved(
    leaders: &mut watch::Receiver<Option<MemberId>>,
    with: Option<MemberId>,
    own: MemberId,
) {
    let moved = |now: &Option<MemberId>| match now {
        Some(now) => with.is_some_and(|with| with != *now),
        None => with == Some(own),
    };
    if leaders.wait_for(moved).await.is_err() {
        std::future::pending().await
    }
}

async fn asked(
    shared: &Shared,
    leader: MemberId,
    ask: Vec<u8>,
    patience: Duration,
) -> Result<Told, Problem> {
    let Some(peers) = &shared.peers else {
        return Err(Problem::busy());
    };
    let answer = peers.ask(leader, ask, patience);
    let answer = answer.await.map_err(|error| match error {
        AskError::Lost | AskError::TimedOut | AskError::Unreachable => Problem::lost(),
        AskError::Full | AskError::Refused | AskError::TooLong => Problem::busy(),
    })?;
    match decode(&answer) {
        Ok(Told::Problem(parts)) => Err(Problem::from_parts(parts)),
        Ok(told) => Ok(told),
        Err(_) => Err(Problem::fault()),
    }
}

/// Answers what other hosts ask, until they are gone.
pub(crate) async fn serve(shared: Arc<Shared>, mut requests: mpsc::Receiver<Asked>) {
    while let Some(Asked { body, reply, .. }) = requests.recv().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let told = told(&shared, &body).await;
            let told = told.unwrap_or_else(|problem| Told::Problem(problem.to_parts()));
            reply.send(encode(&told));
        });
    }
}

async fn told(shared: &Arc<Shared>, body: &[u8]) -> Result<Told, Problem> {
    // Not forwarded again: the asker learns who leads as well as this host does.
    let leads = *shared.leader.borrow() == Some(shared.member);
    match decode(body).map_err(|_| Problem::malformed())? {
        Ask::Copy(part) => crate::copy::give(shared, &part).await.map(Told::Answer),
        Ask::Invite(invite) => invited(shared, invite).await,
        Ask::Draft => drafted(shared).await,
        Ask::Bundle => Ok(Told::Answer(shared.rosters.now().bundle.clone())),
        _ if !leads => Err(Problem::lost()),
        Ask::Envelope { envelope, token } => {
            let class = match Envelope::parse(&envelope) {
                Ok(envelope) => envelope.header.class,
                Err(_) => return Err(Problem::malformed()),
            };
            if let Some(token) = token {
                shared.admission.admit(&token)?;
            }
            let _place = shared.place(class)?;
            here(shared, class, envelope.into()).await.map(Told::Answer)
        }
        Ask::Tenant(change) => {
            let checked = shared.admission.check_change(&change);
            checked.map_err(Problem::tenant)?;
            api::change(shared, change).await?;
            Ok(Told::Done)
        }
        Ask::Clock(change) => {
            api::set_clock(shared, change).await?;
            Ok(Told::Done)
        }
        Ask::Members(change) => {
            members::change(shared, change).await?;
            Ok(Told::Done)
        }
    }
}

/// Asked again of one that runs already, and waits for the entry that takes it in: the change that
/// it was invited to may have been lost with its leader.
async fn drafted(shared: &Shared) -> Result<Told, Problem> {
    let live = shared.live.borrow().clone().ok_or_else(Problem::lost)?;
    match live.link.call(&HsmRequest::Draft).await? {
        Response::Drafted(drafted) => Ok(Told::Drafted(drafted)),
        _ => Err(LinkError::Unexpected.into()),
    }
}

async fn invited(shared: &Shared, invite: Invite) -> Result<Told, Problem> {
    let waits = shared.rosters.now().slot(shared.member);
    let next = invite.change.manifest().map_err(|_| Problem::malformed())?;
    let named =
        waits.map(|slot| next.member(shared.member).map(|it| it.identity) == Some(slot.identity));
    if named != Some(true) {
        // Its replica is that member, and opens the secret as that one: as another it would be a
        // member that never takes part.
        let (member, words) = (shared.member, "stop it, remove `invited` from its data");
        return Err(Problem::members(&format!(
            "the host that is to join waits as member {member}: {words}, and start it again with \
             --join"
        )));
    }
    let live = shared.live.borrow().clone().ok_or_else(Problem::lost)?;
    let invited = Invited {
        change: invite.change,
        secret: invite.secret,
    };
    join::say_ready(&live.link, &invited).await
}

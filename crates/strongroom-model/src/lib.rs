//! The notary protocol with ballots (DESIGN §6) as a model that Stateright checks, with broken
//! rules that must be caught (DESIGN §14.3). It ships nothing and is trusted for nothing.
//!
//! **What is modelled.** Members with an anchor {promised epoch, tip, retired} and RAM
//! {epoch promised to oneself, epoch led}; entries {epoch, index, previous, who decides it}; the
//! requests promise, lead, propose, notarise a run, adopt; restart, lost header, retirement;
//! changes of members by two quorums, one after the other (a readmission is a change that gives a
//! slot to another identity). The host is the adversary: it makes every request to every member at
//! any time in any order, shows any of what was ever said, and withholds what it likes. Leaving a
//! step out is a crash, a partition, or an anchor move that failed; a step taken and never told is
//! an answer that was lost.
//!
//! **The rules**, one function each: [`Scenario::promise`], [`Scenario::lead_with`] (and `starts`,
//! all its outcomes), [`Scenario::propose`], [`Scenario::notarise`], [`Scenario::adopt`]; who
//! counts for a certificate stands in `notary.rs`. Where they say more than DESIGN §6 said, a
//! [`Mutant`] with the old text shows why: `PromiseToMember`, `LeadAgain`, `RunBackwards`,
//! `AdoptKeepsPromise`, `NothingAbove`, `RetireOnNotarise`, `SettledByItself`.
//!
//! **Over-approximated**, so that what is safe here is safe there:
//! - *Rolled-back members* may return to any anchor they ever had, at any time, as any number of
//!   clones, those that left included. From the genesis anchor, such a member can notarise whatever
//!   was ever proposed, and hold it as its tip. So it has no state: its statement for every entry
//!   exists, and it promises anything with any tip of a lower epoch. As a leader it is a *ghost*.
//! - *Ghosts* are leaders' processes without an anchor behind them. In large scenarios they stand
//!   for all leaders: whatever a member may do as a leader, a ghost may, without ever restarting.
//!   That members lead as they may is checked with members as leaders (`led_by_members`).
//! - *Certificates* are complete as soon as the statements exist; everybody may be shown them.
//! - *The pipeline* is as long as an epoch's chain; batches have no content, since two entries of
//!   one place in one epoch are two chains, which is what must not be.
//! - *Removed members* need not retire; who is not a member any more still promises and notarises.
//!
//! **Not modelled**: cryptography and evidence, the clock rule, loads, manifests' signatures,
//! resurrection, HSMs that are broken into, a copy of a running process with its RAM (it would lead
//! one epoch twice: `TwoChains`), hosts that lose certificates or logs (`NOTARY.md` §5).
//!
//! **Invariants**, in every state: [`AGREEMENT`] (a released entry is never lost: what is released
//! later lies above it), [`ONE_LEADER`], [`NOTHING_LOST`] (stronger: no chain of a later epoch is
//! without it, certified or not), [`FORWARD`]. That a removed member's statement counts nowhere is
//! how certificates are counted; counting it is the mutant `NonMembers`. Not vacuous: [`GOES_ON`]
//! and [`CHANGES`] happen in every scenario.
//!
//! **No dead end** ([`NO_DEAD_END`]): in every state, for every set of members that all
//! configurations can do without, the others, honest from now on, certify something new in a fresh
//! epoch, and everyone who comes back can adopt it. RAM is not used for it, so it covers a power
//! cut at all sites in every state.
//!
//! **Tied to the code** by `tests/code.rs`: three real vaults against the model, verdict by
//! verdict.
#![forbid(unsafe_code)]

mod ballot;
mod bytes;
mod live;
mod model;
mod notary;
mod reduce;
mod rules;
mod state;
mod step;

pub use ballot::{Next, Refusal};
pub use model::{AGREEMENT, CHANGES, FORWARD, GOES_ON, NO_DEAD_END, NOTHING_LOST, ONE_LEADER};
pub use model::{Counterexample, Limits, Report, check, picture};
pub use rules::{Broken, Config, Leaders, Mutant, Scenario, set};
pub use state::{
    ConfigId, Deciders, EPOCHS, Entry, GHOST, Leader, MEMBERS, Member, NONE, Promise, Session, Set,
    State,
};
pub use step::Action;

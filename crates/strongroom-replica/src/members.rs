//! Changes of members, as a host sees them: which manifests it knows, who takes part because of
//! them, and when its own HSM joins or leaves.
//!
//! A manifest comes with the entry that puts it in force. Another host may lie about it: it counts
//! only where the officers of the one before signed it, and the entry names it by its digest.

use crate::certificate::{Electorate, next_manifest};
use crate::{Hands, Logged, News, Replica, Role};
use std::sync::Arc;
use strongroom_wire::MemberId;
use strongroom_wire::frame::{Request, Response};

impl<H: Hands> Replica<H> {
    /// Who decides an entry; a manifest that it brings is learned first. None for one that nobody
    /// signed, or that is missing.
    pub(crate) fn electorate_of(&mut self, logged: &Logged) -> Option<Arc<Electorate>> {
        let state = &logged.entry.state;
        let newest = self.log.newest_electorate();
        let same = Some(newest.digest) == state.manifest;
        if same && state.before.is_none() && !newest.is_joint() {
            return Some(newest.clone());
        }
        self.learn(logged);
        Electorate::of(state, &self.manifests).map(Arc::new)
    }

    fn learn(&mut self, logged: &Logged) {
        let state = &logged.entry.state;
        let mut known = self.manifests.iter();
        let Some(before) = known.find(|m| Some(m.digest()) == state.before) else {
            return;
        };
        let manifest = logged
            .manifest
            .as_ref()
            .and_then(|it| next_manifest(before, it));
        if let Some(manifest) = manifest
            && Some(manifest.digest()) == state.manifest
            && !self.manifests.iter().any(|known| **known == manifest)
        {
            self.manifests.push(Arc::new(manifest));
        }
    }

    /// Everybody whom the manifest in force names, or a later one, or the one before: who left is
    /// shown so.
    pub(crate) fn others(&self) -> Vec<MemberId> {
        let in_force = self.log.electorate(0).new.epoch;
        let manifests = self.manifests.iter().filter(|it| it.epoch + 1 >= in_force);
        let members = manifests.flat_map(|manifest| &manifest.members);
        let mut others: Vec<MemberId> = members.map(|slot| slot.id).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|id| *id != self.me);
        others
    }

    /// Has the own HSM become a member, once an entry names it.
    pub(crate) fn join(&mut self) -> Result<(), H::Fault> {
        let Some(secret) = self.joining.clone() else {
            return Ok(());
        };
        let me = self.me;
        let Some(named) = self.log.first(|electorate| electorate.names(me)) else {
            return Ok(());
        };
        let request = Request::Join {
            secret,
            named: self.log.place(named),
            base: self.log.place(0),
            certificate: self.certificate.clone(),
        };
        match self.ask_hsm(&request)? {
            Ok(Response::Standing { .. }) => {
                self.joining = None;
                (self.anchor, self.promised) = (self.log.base, self.log.base.epoch);
                self.hands.tell(News::Joined);
            }
            Ok(_) => {}
            Err(error) => self.hands.tell(News::Refused(error)),
        }
        Ok(())
    }

    /// Has the own HSM leave, once an entry is certified that others decided without it.
    pub(crate) fn retire(&mut self) -> Result<(), H::Fault> {
        let electorate = self.log.electorate(0);
        let certified = self.certificate.first().map(|vote| vote.statement.tip);
        let stays = electorate.is_joint() || electorate.names(self.me);
        // Not before it came: what lies under the entry that took it in does not name it either.
        let mut before = self.manifests.iter();
        let was = before.any(|it| it.epoch < electorate.new.epoch && it.member(self.me).is_some());
        if stays || !was || self.joining.is_some() || certified != Some(self.log.base) {
            return Ok(());
        }
        let request = Request::Retire {
            place: self.log.place(0),
            certificate: self.certificate.clone(),
        };
        match self.ask_hsm(&request)? {
            Ok(_) => {
                self.step_down(Role::Follower(None));
                self.hands.tell(News::Retired);
            }
            Err(error) => self.hands.tell(News::Refused(error)),
        }
        Ok(())
    }
}

//! A user: what the phone has begun, and what the user believes.

use std::collections::HashMap;
use std::rc::Rc;
use strongroom_crypto::wrap::Root;
use strongroom_sim::phone::{Letter, Owner, Phone, Recovering, Registering};
use strongroom_wire::answer::Answer;
use strongroom_wire::{OpId, UnixMs};

/// See the module.
pub struct User {
    pub phone: Phone,
    /// The code that the user believes is in force.
    pub code: String,
    pub owner: Option<Owner>,
    /// Registrations under way: the code, and whether the root is used if there is one.
    pub registering: Vec<(Registering, String, bool)>,
    /// Guesses, to be sent again.
    pub guesses: Vec<Recovering>,
    /// The reset begun last.
    pub reset: Option<OpId>,
}

impl User {
    /// Reads an answer; gives the letter that it leads to.
    pub fn reads(
        &mut self,
        letter: &Rc<Letter>,
        answer: Answer,
        now: UnixMs,
        secrets: &mut HashMap<OpId, (String, Root)>,
    ) -> Option<Rc<Letter>> {
        let phone = &self.phone;
        match answer {
            Answer::RegisterStarted(started) => {
                let ours = |it: &(Registering, String, bool)| Rc::ptr_eq(&it.0.letter, letter);
                let at = self.registering.iter().position(ours)?;
                let (begun, code, proves) = self.registering.swap_remove(at);
                let (root, op) = (Root::generate(&phone.entropy), phone.op(now));
                let owner = self.owner.as_ref().filter(|_| proves);
                secrets.insert(op, (code, root.clone()));
                phone.register_finish(begun, &started, (&root, op), owner)
            }
            Answer::RecoverStarted(started) => {
                let guess = self
                    .guesses
                    .iter()
                    .find(|it| Rc::ptr_eq(&it.letter, letter))?;
                let ke3 = phone.open_guess(guess, &started).map_or([7; 64], |it| it.0);
                Some(phone.recover_finish(&started, ke3, phone.op(now)))
            }
            Answer::Receipt(receipt) => {
                if let Some((code, root)) = secrets.get(&receipt.op) {
                    self.code.clone_from(code);
                    self.owner = Some(Owner::of(root, &receipt));
                }
                None
            }
            Answer::Status(_) | Answer::Refused(_) => None,
        }
    }
}

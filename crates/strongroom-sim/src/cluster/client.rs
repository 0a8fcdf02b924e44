//! A user of the cluster: registers, guesses right and wrong, and sends again whatever is not
//! answered, to any member, with the same ids.

use super::dice::Dice;
use crate::phone::{Letter, Owner, Phone, Recovering, Registering};
use std::rc::Rc;
use strongroom_crypto::wrap::Root;
use strongroom_wire::answer::{Answer, Receipt, Refusal};
use strongroom_wire::{PublicKey, UnixMs};

/// Sent so often, a guess is given up; what stores something is not.
const TRIES_MAX: u32 = 40;

/// See the module.
pub(super) struct Client {
    phone: Phone,
    code: String,
    /// Of ten guesses so many are wrong.
    wrong: u64,
    task: Task,
    tries: u32,
    /// Its timer; a timer of another turn is void.
    pub(super) turn: u64,
    /// The member asked next.
    pub(super) target: usize,
    /// What was acknowledged: the root's public half, and the receipt.
    pub(super) registered: Option<(PublicKey, Receipt)>,
    pub(super) recovered: u32,
}

enum Task {
    Rest,
    Registering(Option<Registering>, Rc<Letter>),
    Confirming(Rc<Letter>, Root),
    Guessing(Box<Recovering>, bool),
    Proving(Rc<Letter>),
}

impl Client {
    pub(super) fn new(phone: Phone, code: String, wrong: u64) -> Self {
        Self {
            phone,
            code,
            wrong,
            task: Task::Rest,
            tries: 0,
            turn: 0,
            target: 0,
            registered: None,
            recovered: 0,
        }
    }

    pub(super) fn rests(&self) -> bool {
        matches!(self.task, Task::Rest)
    }

    /// Begins something, if it rests.
    pub(super) fn begin(&mut self, dice: &Dice, now: UnixMs) {
        if !self.rests() {
            return;
        }
        if self.registered.is_none() {
            self.tries = 0;
            let registering = self.phone.register_start(&self.code, now);
            let letter = registering.letter.clone();
            self.task = Task::Registering(Some(registering), letter);
        } else {
            self.guess(dice.below(10) >= self.wrong, now);
        }
    }

    /// Guesses, whatever it did before.
    pub(super) fn guess(&mut self, right: bool, now: UnixMs) {
        self.tries = 0;
        let code = if right { &self.code } else { "wrong" };
        let attempt = self.phone.attempt(now);
        let recovering = self.phone.recover_start(code, attempt, now);
        self.task = Task::Guessing(Box::new(recovering), right);
    }

    /// What to send now: the same again, sometimes in a fresh envelope.
    pub(super) fn sends(&mut self, dice: &Dice, now: UnixMs) -> Option<Rc<Letter>> {
        self.tries += 1;
        let again = self.tries > 1 && dice.one_in(2);
        self.task = match std::mem::replace(&mut self.task, Task::Rest) {
            Task::Guessing(recovering, right) if again => {
                let recovering = self.phone.recover_again(*recovering, now);
                Task::Guessing(Box::new(recovering), right)
            }
            task => task,
        };
        match &self.task {
            Task::Rest => None,
            Task::Registering(_, letter) | Task::Confirming(letter, _) | Task::Proving(letter) => {
                Some(letter.clone())
            }
            Task::Guessing(..) if self.tries > TRIES_MAX => {
                self.task = Task::Rest;
                None
            }
            Task::Guessing(recovering, _) => Some(recovering.letter.clone()),
        }
    }

    /// Whether this letter is what it waits for an answer to.
    fn waits_for(&self, letter: &Rc<Letter>) -> bool {
        match &self.task {
            Task::Rest => false,
            Task::Registering(_, own) | Task::Confirming(own, _) | Task::Proving(own) => {
                Rc::ptr_eq(own, letter)
            }
            Task::Guessing(recovering, _) => Rc::ptr_eq(&recovering.letter, letter),
        }
    }

    /// Takes an answer; gives how long to wait before it goes on.
    pub(super) fn hears(
        &mut self,
        letter: &Rc<Letter>,
        answer: Answer,
        now: UnixMs,
    ) -> Option<u64> {
        if !self.waits_for(letter) {
            return None;
        }
        self.tries = 0;
        let task = std::mem::replace(&mut self.task, Task::Rest);
        match (task, answer) {
            (Task::Registering(registering, _), Answer::RegisterStarted(started)) => {
                let root = Root::generate(&self.phone.entropy);
                let op = self.phone.op(now);
                let registering = registering.expect("taken with its answer");
                let finish = self
                    .phone
                    .register_finish(registering, &started, (&root, op), None);
                let finish = finish.expect("the answer is to this request");
                self.task = Task::Confirming(finish, root);
                Some(1)
            }
            (Task::Confirming(_, root), Answer::Receipt(receipt)) => {
                self.registered = Some((self.key_of(&root, &receipt), receipt));
                Some(200)
            }
            (Task::Guessing(recovering, right), Answer::RecoverStarted(started)) => {
                let opened = self.phone.open_guess(&recovering, &started);
                assert_eq!(
                    opened.is_some(),
                    right,
                    "the right code opens, no other does"
                );
                let Some((ke3, _)) = opened else {
                    return Some(100);
                };
                let op = self.phone.op(now);
                self.task = Task::Proving(self.phone.recover_finish(&started, ke3, op));
                Some(1)
            }
            (Task::Proving(_), Answer::Receipt(_)) => {
                self.recovered += 1;
                Some(200)
            }
            (task, Answer::Refused(refusal)) => Some(self.refused(task, refusal)),
            (_, other) => panic!("that answers something else: {other:?}"),
        }
    }

    fn refused(&mut self, task: Task, refusal: Refusal) -> u64 {
        match refusal {
            Refusal::WaitUntil { until, now, .. } => until.0.saturating_sub(now.0) + 20,
            Refusal::Destroyed { .. } => {
                self.registered = None;
                100
            }
            Refusal::WrongTokenOrTenant => {
                // Its clock and the fleet's differ: the same again, with a fresh token.
                if let guessing @ Task::Guessing(..) = task {
                    self.task = guessing;
                    self.tries = 1;
                }
                300
            }
            _ => 100,
        }
    }

    fn key_of(&self, root: &Root, receipt: &Receipt) -> PublicKey {
        self.phone.owner_key(&Owner::of(root, receipt))
    }
}

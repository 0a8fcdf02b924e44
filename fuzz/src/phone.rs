//! A phone that the fuzzer steers: which operation, which code, again or anew, and which bytes of
//! the request are changed before it is sealed.

use crate::choices::Choices;
use std::rc::Rc;
use strongroom_crypto::wrap::Root;
use strongroom_sim::phone::{Letter, Phone, Recovering, Registering};
use strongroom_wire::answer::Answer;
use strongroom_wire::{AttemptId, OpId, UnixMs};

/// A phone, and what it has begun.
pub struct Steered {
    phone: Phone,
    registering: Vec<Registering>,
    recovering: Vec<Recovering>,
    last: Option<Recovering>,
    /// A finish that could be sent now.
    finish: Option<Rc<Letter>>,
}

impl Steered {
    /// Takes a phone over.
    pub fn new(phone: Phone) -> Self {
        Self {
            phone,
            registering: Vec::new(),
            recovering: Vec::new(),
            last: None,
            finish: None,
        }
    }

    /// A letter that begins something.
    pub fn start(&mut self, choices: &mut Choices<'_>, now: UnixMs) -> Rc<Letter> {
        let kind = choices.byte();
        let code = match kind & 0x40 {
            0 => "right code",
            _ => "wrong code",
        };
        match kind % 8 {
            0 | 1 => {
                let mut begun = self.phone.register_start("right code", now);
                begun.letter = self.corrupted(choices, &begun.letter);
                self.registering.push(begun);
                self.registering[self.registering.len() - 1].letter.clone()
            }
            2..=4 => {
                let mut begun = self.guess(choices, code, now);
                begun.letter = self.corrupted(choices, &begun.letter);
                self.recovering.push(begun);
                self.recovering[self.recovering.len() - 1].letter.clone()
            }
            5 => self.corrupted(choices, &self.phone.status(None, now)),
            _ => {
                let op = OpId::new(now, [choices.byte(); 8]);
                self.corrupted(choices, &self.phone.reset(op, now))
            }
        }
    }

    /// A new guess, or the last one again.
    fn guess(&mut self, choices: &mut Choices<'_>, code: &str, now: UnixMs) -> Recovering {
        match self.last.take() {
            Some(last) if choices.byte() % 4 == 0 => self.phone.recover_again(last, now),
            _ => {
                let attempt = AttemptId::new(now, [choices.byte(); 8]);
                self.phone.recover_start(code, attempt, now)
            }
        }
    }

    /// A letter that ends what an answer began; none if nothing was begun.
    pub fn finish(&mut self, choices: &mut Choices<'_>) -> Option<Rc<Letter>> {
        let finish = self.finish.clone()?;
        Some(self.corrupted(choices, &finish))
    }

    fn corrupted(&self, choices: &mut Choices<'_>, letter: &Rc<Letter>) -> Rc<Letter> {
        let mut message = letter.message.clone();
        choices.corrupt(&mut message);
        if message == letter.message {
            return letter.clone();
        }
        self.phone.reworded(letter, message)
    }

    /// Reads an answer.
    pub fn answered(&mut self, letter: &Rc<Letter>, answer: &Answer) {
        match answer {
            Answer::RegisterStarted(started) => {
                let ours = |it: &Registering| Rc::ptr_eq(&it.letter, letter);
                let Some(at) = self.registering.iter().position(ours) else {
                    return;
                };
                let begun = self.registering.remove(at);
                let root = Root::generate(&self.phone.entropy);
                let op = self.phone.op(UnixMs(0));
                // A changed request may have been answered: then there is nothing to go on with.
                self.finish = self
                    .phone
                    .register_finish(begun, started, (&root, op), None);
            }
            Answer::RecoverStarted(started) => {
                let ours = |it: &Recovering| Rc::ptr_eq(&it.letter, letter);
                let Some(at) = self.recovering.iter().position(ours) else {
                    return;
                };
                let begun = self.recovering.remove(at);
                let opened = self.phone.open_guess(&begun, started);
                let ke3 = opened.map_or([7; 64], |(ke3, _)| ke3);
                let op = self.phone.op(UnixMs(0));
                self.finish = Some(self.phone.recover_finish(started, ke3, op));
                self.last = Some(begun);
            }
            Answer::Receipt(_) if !letter.is_start() => self.finish = None,
            _ => {}
        }
    }
}

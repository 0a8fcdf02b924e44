//! A host around one vault that the fuzzer steers: the order of steps, what is left out, what is
//! sent twice, and which bytes are changed on the way.

use crate::choices::Choices;
use crate::phone::Steered;
use std::rc::Rc;
use strongroom_sim::checkers::Seen;
use strongroom_sim::host::Issuer;
use strongroom_sim::phone::Letter;
use strongroom_sim::world::{World, bearer};
use strongroom_wire::Handle;
use strongroom_wire::encode;
use strongroom_wire::frame::Request;
use strongroom_wire::manifest::Policy;

const HOUR_MS: u64 = 3_600_000;

/// See the module.
pub struct Host {
    world: World,
    phone: Steered,
}

impl Host {
    /// A fleet of one, leading, with its tenants.
    pub fn new() -> Self {
        let policy = Policy {
            attempts_max: 3,
            ..Policy::default()
        };
        let mut world = World::with_policy(1, policy);
        let phone = world.phone(&bearer(), "user");
        Self {
            phone: Steered::new(phone),
            world,
        }
    }

    /// How far it has come.
    pub fn reached(&self) -> Seen {
        self.world.checkers.seen
    }

    /// One thing that a host may do.
    pub fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 16 {
            0..3 => {
                let letter = self.phone.start(choices, self.world.now());
                self.open(choices, &letter);
            }
            3 => {
                if let Some(letter) = self.phone.finish(choices) {
                    self.open(choices, &letter);
                }
            }
            4 | 5 => self.evaluate(choices),
            6 | 7 => {
                let handles: Vec<Handle> = self.world.host.operations().keys().copied().collect();
                let request = self.world.host.proposal(&handles);
                self.send(choices, request);
            }
            8 | 9 => self.send(choices, self.world.host.notarisation()),
            10 | 11 => self.send(choices, self.world.host.release()),
            12 => self.world.pass(HOUR_MS * u64::from(choices.byte())),
            13 => self.take_the_lead(choices),
            14 => match choices.byte() % 4 {
                0 => self.restart(choices),
                1 => self.create_tenant(choices),
                2 => self.send(choices, Request::Inspect),
                _ => {
                    let handles = self.world.host.operations().keys().copied();
                    let handles = handles.take(1).collect();
                    self.send(choices, Request::Forget { handles });
                }
            },
            _ => {
                if let Ok(request) = minicbor::decode(choices.bytes()) {
                    self.world.ask(request);
                }
            }
        }
        self.read();
    }

    /// Sends a request, perhaps changed on the way; not at all if it is no request any more.
    fn send(&mut self, choices: &mut Choices<'_>, request: Request) {
        if let Some(request) = changed(choices, &request) {
            self.world.ask(request);
        }
    }

    /// The phone reads what came.
    fn read(&mut self) {
        for (letter, answer) in self.world.take_answers() {
            self.phone.answered(&letter, &answer);
        }
    }

    fn take_the_lead(&mut self, choices: &mut Choices<'_>) {
        self.send(choices, self.world.host.promising());
        self.send(choices, self.world.host.leading());
    }

    fn open(&mut self, choices: &mut Choices<'_>, letter: &Rc<Letter>) {
        let envelope = letter.envelope.clone();
        if let Some(request) = changed(choices, &Request::Open { envelope }) {
            self.world.open_by(letter, request);
        }
    }

    fn evaluate(&mut self, choices: &mut Choices<'_>) {
        let operations = self.world.host.operations();
        let at = choices.below(operations.len().max(1));
        if let Some(handle) = operations.keys().nth(at).copied() {
            let request = self.world.host.evaluation(handle);
            self.send(choices, request);
        }
    }

    fn create_tenant(&mut self, choices: &mut Choices<'_>) {
        let issuer = Issuer::new("https://another.example", 60, true);
        let creation = issuer.creation(self.world.host.manifest().fleet_id());
        let request = self.world.host.tenancy(&issuer.name, creation);
        self.send(choices, request);
    }

    /// Power cut: what was on the desk and above the anchor is gone, the rest goes on.
    fn restart(&mut self, choices: &mut Choices<'_>) {
        self.world.power_cut().expect("what it stored is whole");
        let resumption = self.world.host.resumption();
        self.send(choices, resumption.clone());
        let again = self.world.ask(resumption);
        let stands = self.world.host.inspect().is_some();
        assert!(
            stands,
            "the vault does not go on from its anchor: {again:?}"
        );
        self.take_the_lead(&mut Choices::new(&[]));
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// The request after its way; none if it is no request any more.
fn changed(choices: &mut Choices<'_>, request: &Request) -> Option<Request> {
    let mut bytes = encode(request);
    choices.corrupt(&mut bytes);
    minicbor::decode(&bytes).ok()
}

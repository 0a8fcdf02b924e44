//! A client: makes real envelopes, and reads the answers that come back.

use crate::choices::Choices;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use std::collections::BTreeSet;
use strongroom_crypto::channel::{ResponseKey, Sender};
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::{ClientLogin, ClientRegistration, Identities};
use strongroom_crypto::random::Entropy;
use strongroom_crypto::seal::{self, SealingKey};
use strongroom_crypto::statement::SigningKey;
use strongroom_wire::answer::{Answer, Refusal, TicketGrant};
use strongroom_wire::envelope::{Envelope, Header, OpClass, SizeClass, VERSION, material_digest};
use strongroom_wire::manifest::Manifest;
use strongroom_wire::request::{
    Authorization, Finish, RecoverFinish, RecoverStart, RegisterFinish, RegisterStart, Reset,
    Start, Status,
};
use strongroom_wire::{
    AttemptId, CellId, Generation, OpId, PublicKey, Slot, UnixMs, binding, codec, decode, encode,
};

/// Who says who a user is.
pub const ISSUER: &str = "https://issuer.example";
/// The key of that issuer's tokens.
pub const ISSUER_SEED: [u8; 32] = [9; 32];
const SUBJECT: &str = "user";
const SLOT: Slot = Slot(0);
const KSF: Ksf = Ksf::DangerIdentity;

/// What the phone waits for an answer to.
pub enum Waiting {
    /// Sealed under a response key.
    Start(Box<(ResponseKey, Asked)>),
    /// Sealed under a ticket's key.
    Finish {
        key: [u8; 32],
        aad: Vec<u8>,
        recovers: bool,
    },
}

/// Which start it was.
pub enum Asked {
    Register(ClientRegistration),
    Recover(ClientLogin, AttemptId),
    Other,
}

/// The user's side.
pub struct Phone {
    manifest: Manifest,
    /// A finish that could be sent now.
    finish: Option<(TicketGrant, Finish)>,
    /// Guesses answered since the last success.
    guesses: BTreeSet<(AttemptId, [u8; 96])>,
    last: Option<(AttemptId, ClientLogin)>,
    generation: Generation,
    /// What came back so far.
    pub reached: Reached,
}

/// Answers by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    pub registered: u32,
    pub guesses: u32,
    pub recovered: u32,
    pub destroyed: u32,
}

impl Phone {
    /// A phone that knows the fleet.
    pub fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            finish: None,
            guesses: BTreeSet::new(),
            last: None,
            generation: Generation(0),
            reached: Reached::default(),
        }
    }

    /// An envelope that begins something.
    pub fn start(
        &mut self,
        choices: &mut Choices<'_>,
        now: UnixMs,
        entropy: &impl Entropy,
    ) -> (Vec<u8>, Waiting) {
        let authorization = Authorization {
            token: self.token(now),
            possession: None,
        };
        let kind = choices.byte();
        let code: &[u8] = if kind & 0x40 == 0 {
            b"right code"
        } else {
            b"wrong code"
        };
        let (start, asked) = match kind % 8 {
            0 | 1 => {
                let (state, request) =
                    ClientRegistration::start(b"right code", entropy).expect("maps to an element");
                let start = RegisterStart {
                    authorization,
                    slot: SLOT,
                    request,
                };
                (Start::Register(start), Asked::Register(state))
            }
            2..=4 => {
                let (attempt, login) = self.guess(choices, code, now, entropy);
                let ke1 = login.ke1();
                let start = RecoverStart {
                    authorization,
                    slot: SLOT,
                    attempt,
                    ke1,
                };
                (Start::Recover(start), Asked::Recover(login, attempt))
            }
            5 => (
                Start::Status(Status {
                    authorization,
                    slot: SLOT,
                    owner_proof: None,
                }),
                Asked::Other,
            ),
            _ => {
                let op = OpId([choices.byte(); 16]);
                (
                    Start::Reset(Reset {
                        authorization,
                        slot: SLOT,
                        op,
                    }),
                    Asked::Other,
                )
            }
        };
        let mut message = encode(&start);
        choices.corrupt(&mut message);
        let (envelope, key) = self.seal_start(&message, entropy);
        (envelope, Waiting::Start(Box::new((key, asked))))
    }

    /// A new guess, or the last one again.
    fn guess(
        &mut self,
        choices: &mut Choices<'_>,
        code: &[u8],
        now: UnixMs,
        entropy: &impl Entropy,
    ) -> (AttemptId, ClientLogin) {
        let (login, _) = ClientLogin::start(code, entropy).expect("maps to an element");
        match self.last.take() {
            Some((attempt, old)) if choices.byte() % 4 == 0 => (attempt, old),
            _ => (AttemptId::new(now, [choices.byte(); 8]), login),
        }
    }

    /// An envelope that ends what an answer began; none if nothing was begun.
    pub fn finish(
        &mut self,
        choices: &mut Choices<'_>,
        entropy: &impl Entropy,
    ) -> Option<(Vec<u8>, Waiting)> {
        let (grant, finish) = self.finish.as_ref()?;
        let mut message = encode(finish);
        choices.corrupt(&mut message);
        let size = SizeClass::for_length(message.len())?;
        let padded = codec::pad(&message, size.bytes()).expect("the class holds it");
        let header = self.header(OpClass::Finish, size);
        let ticket = material_digest(&grant.ticket);
        let aad = binding::finish_aad(&header, &ticket);
        let sealed = seal::seal(
            &SealingKey::from_bytes(grant.to_hsm),
            &aad,
            &padded,
            entropy,
        );
        let waiting = Waiting::Finish {
            key: grant.to_client,
            aad: binding::finish_answer_aad(&header, &ticket, &sealed),
            recovers: matches!(finish, Finish::Recover(_)),
        };
        let envelope = Envelope {
            header,
            key_material: grant.ticket.clone(),
            sealed,
        };
        Some((encode(&envelope), waiting))
    }

    /// Reads an answer, and watches the guess bound.
    pub fn answered(&mut self, waiting: Waiting, sealed: &[u8], entropy: &impl Entropy) {
        match waiting {
            Waiting::Start(start) => {
                let (key, asked) = *start;
                if let Some(answer) = key.open(sealed).ok().and_then(|bytes| read(&bytes)) {
                    self.started(answer, asked, entropy);
                }
            }
            Waiting::Finish { key, aad, recovers } => {
                let opened = seal::open(&SealingKey::from_bytes(key), &aad, sealed).ok();
                if let Some(Answer::Receipt(receipt)) = opened.and_then(|bytes| read(&bytes)) {
                    // Guesses are counted from a success, and anew in a new generation.
                    if recovers || receipt.generation > self.generation {
                        self.guesses.clear();
                    }
                    let kind = if recovers {
                        &mut self.reached.recovered
                    } else {
                        &mut self.reached.registered
                    };
                    *kind += 1;
                    self.generation = receipt.generation;
                    self.finish = None;
                }
            }
        }
    }

    fn started(&mut self, answer: Answer, asked: Asked, entropy: &impl Entropy) {
        let client = binding::client_identity(ISSUER, SUBJECT, SLOT);
        let context = binding::opaque_context(self.manifest.fleet_id());
        let identities = Identities {
            client: &client.0,
            server: &self.manifest.fleet_id().0.clone(),
            context: &context,
        };
        let server = self.manifest.opaque.0;
        match (answer, asked) {
            (Answer::RegisterStarted(started), Asked::Register(state)) => {
                let finished = state.finish(&started.response, &server, &identities, KSF, entropy);
                let Ok((upload, _)) = finished else { return };
                let finish = RegisterFinish {
                    op: fresh_op(entropy),
                    upload,
                    wrapped: vec![1; 80],
                    owner_key: PublicKey(SigningKey::from_seed(&[4; 32]).public()),
                    ksf: KSF.code(),
                    owner_proof: None,
                };
                self.finish = Some((started.grant, Finish::Register(finish)));
            }
            (Answer::RecoverStarted(started), Asked::Recover(login, attempt)) => {
                self.reached.guesses += 1;
                self.guesses.insert((attempt, login.ke1()));
                let bound = usize::from(self.manifest.policy.attempts_max);
                assert!(
                    self.guesses.len() <= bound,
                    "more guesses were answered than allowed"
                );
                let finished = login.finish(&started.ke2, &server, &identities, KSF, entropy);
                let ke3 = finished.map_or([7; 64], |(ke3, _)| ke3);
                let finish = RecoverFinish {
                    op: fresh_op(entropy),
                    ke3,
                };
                self.finish = Some((started.grant, Finish::Recover(finish)));
                self.last = Some((attempt, login));
            }
            (Answer::Refused(Refusal::Destroyed { .. }), _) => self.reached.destroyed += 1,
            _ => {}
        }
    }

    fn header(&self, class: OpClass, size: SizeClass) -> Header {
        let key = self.manifest.keys[0].id;
        Header {
            version: VERSION,
            key,
            cell: CellId(0),
            class,
            size,
        }
    }

    fn seal_start(&self, message: &[u8], entropy: &impl Entropy) -> (Vec<u8>, ResponseKey) {
        let size = SizeClass::Large;
        let header = self.header(OpClass::Start, size);
        let padded = codec::pad(message, size.bytes()).expect("starts fit the largest class");
        let info = binding::hpke_info(self.manifest.fleet_id(), header.key);
        let aad = binding::start_aad(&header);
        let public = &self.manifest.keys[0].public;
        let sender = Sender::new(public, &info, entropy).expect("the fleet's key is valid");
        let key_material = sender.enc().to_vec();
        let (sealed, key) = sender
            .seal(&aad, &padded)
            .expect("a first message is sealed");
        let envelope = Envelope {
            header,
            key_material,
            sealed,
        };
        (encode(&envelope), key)
    }

    fn token(&self, now: UnixMs) -> String {
        let seconds = now.0 / 1000;
        let audience = binding::vault_audience(self.manifest.fleet_id());
        let header = Base64UrlUnpadded::encode_string(br#"{"alg":"EdDSA","kid":"k"}"#);
        let claims = format!(
            r#"{{"iss":"{ISSUER}","sub":"{SUBJECT}","aud":"{audience}","exp":{},"iat":{seconds}}}"#,
            seconds + 600
        );
        let input = format!(
            "{header}.{}",
            Base64UrlUnpadded::encode_string(claims.as_bytes())
        );
        let signature = SigningKey::from_seed(&ISSUER_SEED).sign_raw(input.as_bytes());
        format!("{input}.{}", Base64UrlUnpadded::encode_string(&signature))
    }
}

fn fresh_op(entropy: &impl Entropy) -> OpId {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    OpId(id)
}

fn read(padded: &[u8]) -> Option<Answer> {
    decode(codec::unpad(padded).ok()?).ok()
}

//! The cryptography that a recovery cannot do without, in this run: on one thread while the other
//! cores are idle, and on every core at once, as it runs under load (cores share caches, clocks and
//! often execution units). Counted is the threads' CPU time, not the wall clock.

use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Barrier;
use strongroom_client::Os;
use strongroom_crypto::channel::{FleetKem, Sender};
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::{ClientLogin, ClientRegistration, Identities, OpaqueServer};
use strongroom_crypto::statement::{self, JwsAlg, Label, SigningKey};

const ROUNDS: u32 = 400;

/// Microseconds of each part.
#[derive(Clone, Copy)]
pub struct Bare {
    pub opaque: f64,
    pub hpke: f64,
    pub signatures: f64,
}

impl Bare {
    pub fn sum(&self) -> f64 {
        self.opaque + self.hpke + self.signatures
    }
}

fn cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

fn each(mut work: impl FnMut()) -> f64 {
    let began = cpu_us();
    for _ in 0..ROUNDS {
        work();
    }
    (cpu_us() - began) / f64::from(ROUNDS)
}

/// Measures all parts on that many threads at once; gives the mean.
pub fn measure(threads: usize) -> Bare {
    let barrier = Barrier::new(threads);
    let each: Vec<Bare> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    one_thread()
                })
            })
            .collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined
            .map(|bare| bare.expect("a measurement does not panic"))
            .collect()
    });
    let mean = |part: fn(&Bare) -> f64| each.iter().map(part).sum::<f64>() / threads as f64;
    Bare {
        opaque: mean(|bare| bare.opaque),
        hpke: mean(|bare| bare.hpke),
        signatures: mean(|bare| bare.signatures),
    }
}

/// Milliseconds of CPU that each named Argon2id set costs the client.
pub fn stretching() -> Vec<(&'static str, f64)> {
    [Ksf::Argon2idM19T2, Ksf::Argon2idM64T3, Ksf::Argon2idM128T3]
        .into_iter()
        .map(|ksf| {
            let server = OpaqueServer::from_seed(&[7; 32]);
            let identities = Identities {
                client: &[1; 32],
                server: &[2; 32],
                context: b"bench",
            };
            let (registration, request) = ClientRegistration::start(b"code", &Os).expect("short");
            let response = server.register_start(&[3; 32], &request).expect("valid");
            let key = server.public_key();
            let began = cpu_us();
            let made = registration.finish(&response, &key, &identities, ksf, &Os);
            drop(black_box(made));
            (ksf.name(), (cpu_us() - began) / 1e3)
        })
        .collect()
}

fn one_thread() -> Bare {
    let server = OpaqueServer::from_seed(&[7; 32]);
    let identities = Identities {
        client: &[1; 32],
        server: &[2; 32],
        context: b"bench",
    };
    let (registration, request) = ClientRegistration::start(b"code", &Os).expect("short");
    let response = server.register_start(&[3; 32], &request).expect("valid");
    let key = server.public_key();
    let ksf = Ksf::DangerIdentity;
    let (upload, _) = registration
        .finish(&response, &key, &identities, ksf, &Os)
        .expect("an honest server");
    let (login, ke1) = ClientLogin::start(b"code", &Os).expect("short");
    let (ke2, state) = server
        .login_start(&[3; 32], &upload, &ke1, &identities, &Os)
        .expect("valid");
    let (ke3, _) = login
        .finish(&ke2, &key, &identities, ksf, &Os)
        .expect("the right code");
    let opaque = each(|| {
        let started = server.login_start(&[3; 32], &upload, &ke1, &identities, &Os);
        drop(black_box(started));
        let _ = black_box(server.login_finish(&state, &ke3));
    });
    let kem = FleetKem::from_seed(&[4; 32]);
    let sender = Sender::new(&kem.public(), b"info", &Os).expect("a valid key");
    let enc = sender.enc().to_vec();
    let (sealed, _) = sender.seal(b"aad", &[0; 2048]).expect("short");
    let hpke = each(|| drop(black_box(kem.open(b"info", b"aad", &enc, &sealed))));
    let signer = SigningKey::from_seed(&[5; 32]);
    let (public, signature) = (signer.public(), signer.sign_raw(&[6; 300]));
    let proof = statement::sign(&signer, Label::TokenPossession, &[6; 200]);
    let signatures = each(|| {
        let token = statement::verify_jws(JwsAlg::EdDsa, &public, &[6; 300], &signature);
        let held = statement::verify(&public, Label::TokenPossession, &[6; 200], &proof);
        assert!(token.is_ok() && held.is_ok());
    });
    Bare {
        opaque,
        hpke,
        signatures,
    }
}

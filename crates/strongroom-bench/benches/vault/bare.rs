//! The cryptography that a recovery cannot do without, on one thread, in this run.

use std::hint::black_box;
use std::time::Instant;
use strongroom_client::Os;
use strongroom_crypto::channel::{FleetKem, Sender};
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::{ClientLogin, ClientRegistration, Identities, OpaqueServer};
use strongroom_crypto::statement::{self, JwsAlg, Label, SigningKey};

const ROUNDS: u32 = 400;

/// Microseconds of each part.
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

fn each(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

/// Measures all parts.
pub fn measure() -> Bare {
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

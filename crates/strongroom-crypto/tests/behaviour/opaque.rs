//! Registration and recovery by OPAQUE, from end to end.

use super::{Seeded, bits, flipped};
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::{
    ClientLogin, ClientRegistration, Identities, LoginState, OpaqueError, OpaqueServer,
};

const SEED: [u8; 32] = [6; 32];
const CODE: &[u8] = b"correct horse battery staple";
const IDENTITIES: Identities<'_> = Identities {
    client: b"client",
    server: b"server",
    context: b"context",
};

/// Registers; gives the server, the record and the export key.
fn registered(ksf: Ksf) -> (OpaqueServer, [u8; 192], [u8; 64]) {
    let entropy = Seeded::new(1);
    let server = OpaqueServer::from_seed(&[5; 32]);
    let (client, request) = started(CODE);
    let response = server.register_start(&SEED, &request).unwrap();
    let (upload, export_key) = client
        .finish(&response, &server.public_key(), &IDENTITIES, ksf, &entropy)
        .unwrap();
    assert!(server.check_upload(&upload).is_ok());
    (server, upload, *export_key)
}

fn started(code: &[u8]) -> (ClientRegistration, [u8; 32]) {
    let result = ClientRegistration::start(code, &Seeded::new(2));
    result.unwrap_or_else(|_| panic!("every code can be blinded"))
}

fn login(code: &[u8]) -> (ClientLogin, [u8; 96]) {
    let result = ClientLogin::start(code, &Seeded::new(3));
    result.unwrap_or_else(|_| panic!("every code can be blinded"))
}

fn answered(
    server: &OpaqueServer,
    upload: &[u8; 192],
    ke1: &[u8; 96],
    identities: &Identities<'_>,
    entropy: u64,
) -> ([u8; 320], LoginState) {
    let result = server.login_start(&SEED, upload, ke1, identities, &Seeded::new(entropy));
    result.unwrap_or_else(|_| panic!("a sound KE1 is answered"))
}

fn finish(
    client: &ClientLogin,
    ke2: &[u8; 320],
    server: &OpaqueServer,
    identities: &Identities<'_>,
) -> Result<([u8; 64], [u8; 64]), OpaqueError> {
    let key = server.public_key();
    let finished = client.finish(ke2, &key, identities, Ksf::DangerIdentity, &Seeded::new(4))?;
    Ok((finished.0, *finished.1))
}

#[test]
fn the_right_code_gets_the_export_key_and_proves_itself() {
    let (server, upload, export_key) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    let (ke2, state) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    let (ke3, recovered) = finish(&client, &ke2, &server, &IDENTITIES).unwrap();
    assert!(recovered == export_key);
    assert!(server.login_finish(&state, &ke3).is_ok());
    // The state travels in a ticket.
    let state = LoginState::from_slice(state.as_slice()).unwrap();
    assert!(server.login_finish(&state, &ke3).is_ok());
}

#[test]
fn the_floor_of_key_stretching_works_and_its_name_matters() {
    let (server, upload, export_key) = registered(Ksf::Argon2idM19T2);
    let (client, ke1) = login(CODE);
    let (ke2, state) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    let key = server.public_key();
    let finish = |ksf| client.finish(&ke2, &key, &IDENTITIES, ksf, &Seeded::new(4));
    let (ke3, recovered) = finish(Ksf::Argon2idM19T2).unwrap();
    assert!(*recovered == export_key);
    assert!(server.login_finish(&state, &ke3).is_ok());
    assert!(finish(Ksf::DangerIdentity).is_err());
}

#[test]
fn a_wrong_code_opens_nothing() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    for wrong in [b"correct horse battery stable".as_slice(), b"", &CODE[1..]] {
        let Ok((client, ke1)) = ClientLogin::start(wrong, &Seeded::new(3)) else {
            assert!(wrong.is_empty(), "only the empty code cannot be blinded");
            continue;
        };
        let (ke2, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
        assert_eq!(
            finish(&client, &ke2, &server, &IDENTITIES).err(),
            Some(OpaqueError)
        );
    }
}

#[test]
fn client_and_server_must_agree_on_context_and_both_identities() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    for other in [
        Identities {
            client: b"other",
            ..IDENTITIES
        },
        Identities {
            server: b"other",
            ..IDENTITIES
        },
        Identities {
            context: b"other",
            ..IDENTITIES
        },
    ] {
        let (ke2, _) = answered(&server, &upload, &ke1, &other, 5);
        assert!(finish(&client, &ke2, &server, &IDENTITIES).is_err());
        let (ke2, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
        assert!(finish(&client, &ke2, &server, &other).is_err());
    }
}

#[test]
fn an_identity_agreed_at_login_only_opens_nothing() {
    // The envelope binds the identities of the registration.
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    for other in [
        Identities {
            client: b"other",
            ..IDENTITIES
        },
        Identities {
            server: b"other",
            ..IDENTITIES
        },
    ] {
        let (ke2, _) = answered(&server, &upload, &ke1, &other, 5);
        assert!(finish(&client, &ke2, &server, &other).is_err());
    }
}

#[test]
fn another_servers_key_is_refused_at_registration_and_recovery() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let other = OpaqueServer::from_seed(&[9; 32]);
    assert_ne!(server.public_key(), other.public_key());
    let (client, request) = started(CODE);
    let response = other.register_start(&SEED, &request).unwrap();
    let key = server.public_key();
    let result = client.finish(
        &response,
        &key,
        &IDENTITIES,
        Ksf::DangerIdentity,
        &Seeded::new(4),
    );
    assert_eq!(result.err(), Some(OpaqueError));
    let (client, ke1) = login(CODE);
    let (ke2, _) = answered(&other, &upload, &ke1, &IDENTITIES, 5);
    assert!(finish(&client, &ke2, &other, &IDENTITIES).is_err());
    // The right server, and a client that expects another.
    let (ke2, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    assert!(finish(&client, &ke2, &other, &IDENTITIES).is_err());
}

#[test]
fn another_records_seed_gives_another_key() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    let (ke2, _) = server
        .login_start(&[7; 32], &upload, &ke1, &IDENTITIES, &Seeded::new(5))
        .unwrap_or_else(|_| panic!("a sound KE1 is answered"));
    assert!(finish(&client, &ke2, &server, &IDENTITIES).is_err());
}

#[test]
fn any_changed_bit_of_ke2_is_refused_by_the_client() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    let (ke2, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    for bit in bits(ke2.len()) {
        let changed = flipped(&ke2, bit).try_into().unwrap();
        assert!(
            finish(&client, &changed, &server, &IDENTITIES).is_err(),
            "bit {bit}"
        );
    }
    assert!(finish(&client, &ke2, &server, &IDENTITIES).is_ok());
}

#[test]
fn any_changed_bit_of_ke3_and_another_logins_ke3_are_refused() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    let (ke2, state) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    let (ke3, _) = finish(&client, &ke2, &server, &IDENTITIES).unwrap();
    for bit in bits(ke3.len()) {
        let changed = flipped(&ke3, bit).try_into().unwrap();
        assert_eq!(
            server.login_finish(&state, &changed),
            Err(OpaqueError),
            "bit {bit}"
        );
    }
    let (_, other_state) = answered(&server, &upload, &ke1, &IDENTITIES, 6);
    assert!(server.login_finish(&other_state, &ke3).is_err());
    assert!(LoginState::from_slice(&state.as_slice()[1..]).is_none());
}

#[test]
fn the_same_ke1_gets_the_same_element_with_a_fresh_key_exchange() {
    let (server, upload, export_key) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    let (first, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    let (second, state) = answered(&server, &upload, &ke1, &IDENTITIES, 6);
    assert_eq!(first[..32], second[..32]);
    assert_ne!(first[32..64], second[32..64]);
    assert_ne!(first[192..], second[192..]);
    let (ke3, recovered) = finish(&client, &second, &server, &IDENTITIES).unwrap();
    assert!(recovered == export_key);
    assert!(server.login_finish(&state, &ke3).is_ok());
}

#[test]
fn an_identity_or_non_canonical_element_is_refused_everywhere() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, ke1) = login(CODE);
    let (ke2, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    // The identity, and a negative, an unreduced and an off-group encoding.
    for element in [[0; 32], [1; 32], [0xff; 32], [0x80; 32]] {
        assert!(server.register_start(&SEED, &element).is_err());
        for at in [0, 64] {
            let mut bad = ke1;
            bad[at..at + 32].copy_from_slice(&element);
            let result = server.login_start(&SEED, &upload, &bad, &IDENTITIES, &Seeded::new(5));
            assert!(result.is_err(), "KE1 at {at}");
        }
        let mut bad = upload;
        bad[..32].copy_from_slice(&element);
        assert!(server.check_upload(&bad).is_err());
        for at in [0, 224] {
            let mut bad = ke2;
            bad[at..at + 32].copy_from_slice(&element);
            assert!(
                finish(&client, &bad, &server, &IDENTITIES).is_err(),
                "KE2 at {at}"
            );
        }
    }
}

#[test]
fn a_reflected_element_is_refused_by_the_client() {
    let (server, upload, _) = registered(Ksf::DangerIdentity);
    let (client, request) = started(CODE);
    let mut response = server.register_start(&SEED, &request).unwrap();
    response[..32].copy_from_slice(&request);
    let key = server.public_key();
    let result = client.finish(
        &response,
        &key,
        &IDENTITIES,
        Ksf::DangerIdentity,
        &Seeded::new(4),
    );
    assert!(result.is_err());
    let (client, ke1) = login(CODE);
    let (mut ke2, _) = answered(&server, &upload, &ke1, &IDENTITIES, 5);
    ke2[..32].copy_from_slice(&ke1[..32]);
    assert!(finish(&client, &ke2, &server, &IDENTITIES).is_err());
}

#[test]
fn export_keys_differ_by_registration_code_and_record() {
    let (_, _, export_key) = registered(Ksf::DangerIdentity);
    let server = OpaqueServer::from_seed(&[5; 32]);
    let register = |code: &[u8], seed: &[u8; 32]| {
        let (client, request) = started(code);
        let response = server.register_start(seed, &request).unwrap();
        let (_, key) = client
            .finish(
                &response,
                &server.public_key(),
                &IDENTITIES,
                Ksf::DangerIdentity,
                &Seeded::new(1),
            )
            .unwrap();
        *key
    };
    assert!(register(CODE, &SEED) == export_key);
    assert!(register(CODE, &[7; 32]) != export_key);
    assert!(register(b"another code", &SEED) != export_key);
}

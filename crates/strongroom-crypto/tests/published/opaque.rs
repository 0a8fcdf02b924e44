//! RFC 9807, Appendix C: OPAQUE-3DH with ristretto255-SHA512 and the identity key stretching.
//!
//! Covered, for both real vectors (identities absent and present) and the fake one:
//! - our client, every message and key: request, upload, export key, KE1, KE3;
//! - our server, what does not depend on its key pair, which it derives from a seed and cannot be
//!   given: both evaluated elements, KE3's check against a state made from the vector;
//! - opaque-ke itself, every message: response, KE2, session key, and KE2 for an unknown user;
//! - our server against opaque-ke's own path with the key pair of the seed, byte by byte. That ties
//!   the Diffie-Hellman of ours to what replayed the vectors.
//!
//! Not covered: intermediate values, which neither shows; the vector of Curve25519 and P-256.

use super::{Script, array, bytes, optional, vectors, wide};
use hkdf::Hkdf;
use opaque_ke::generic_array::GenericArray;
use opaque_ke::key_exchange::group::Group as _;
use opaque_ke::ksf::Identity;
use opaque_ke::{
    CipherSuite, CredentialFinalization, CredentialRequest, Identifiers, RegistrationRequest,
    Ristretto255, ServerLogin, ServerLoginParameters, ServerLoginStartResult, ServerRegistration,
    ServerSetup, TripleDh,
};
use serde_json::Value;
use strongroom_crypto::ksf::Ksf;
use strongroom_crypto::opaque::{
    ClientLogin, ClientRegistration, Identities, LoginState, OpaqueServer,
};
use strongroom_crypto::random::DrawOpaque;

/// The configuration of the vectors.
struct Published;

impl CipherSuite for Published {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = Identity;
}

fn of_our_suite(fake: &str) -> Vec<Value> {
    vectors(include_str!("../../../../vectors/opaque-rfc9807.json"))
        .into_iter()
        .filter(|v| v["config"]["Group"] == "ristretto255" && v["config"]["Fake"] == fake)
        .collect()
}

/// A vector's inputs and outputs with the identities that RFC 9807 puts in for absent ones: the
/// public keys.
struct Case {
    inputs: Value,
    outputs: Value,
    client: Vec<u8>,
    server: Vec<u8>,
    context: Vec<u8>,
}

impl Case {
    fn new(vector: &Value) -> Self {
        let inputs = vector["inputs"].clone();
        let identity = |field: &str| optional(&inputs, field);
        let client = identity("client_identity")
            .unwrap_or_else(|| bytes(&vector["intermediates"], "client_public_key"));
        let server =
            identity("server_identity").unwrap_or_else(|| bytes(&inputs, "server_public_key"));
        let context = bytes(&vector["config"], "Context");
        let outputs = vector["outputs"].clone();
        Self {
            inputs,
            outputs,
            client,
            server,
            context,
        }
    }

    fn real() -> Vec<Self> {
        let cases: Vec<Self> = of_our_suite("False").iter().map(Self::new).collect();
        assert_eq!(cases.len(), 2);
        cases
    }

    fn input(&self, field: &str) -> Vec<u8> {
        bytes(&self.inputs, field)
    }

    fn output<const N: usize>(&self, field: &str) -> [u8; N] {
        array(&self.outputs, field)
    }

    fn identities(&self) -> Identities<'_> {
        Identities {
            client: &self.client,
            server: &self.server,
            context: &self.context,
        }
    }

    /// The identities as the vector has them, for opaque-ke to put in the absent ones.
    fn parameters(&self) -> ServerLoginParameters<'_, '_> {
        let given = |field, identity| self.inputs.get(field).map(|_| identity);
        ServerLoginParameters {
            context: Some(&self.context),
            identifiers: Identifiers {
                client: given("client_identity", self.client.as_slice()),
                server: given("server_identity", self.server.as_slice()),
            },
        }
    }

    /// The record's own key material, from the vector's seed for all records (RFC 9807 §5.2).
    fn oprf_seed(&self) -> [u8; 32] {
        oprf_seed(
            &self.input("oprf_seed"),
            &self.input("credential_identifier"),
        )
    }

    fn setup(&self, dummy_public: &[u8]) -> ServerSetup<Published> {
        let parts = [
            self.input("oprf_seed"),
            self.input("server_private_key"),
            dummy_public.into(),
        ];
        ServerSetup::deserialize(&parts.concat()).unwrap()
    }

    fn login_script(&self, masking_key: &[u8]) -> Script {
        Script::new(&[
            masking_key,
            &self.input("masking_nonce"),
            &self.input("server_keyshare_seed"),
            &self.input("server_nonce"),
        ])
    }

    /// KE2 and its state by opaque-ke.
    fn library_login(&self) -> ServerLoginStartResult<Published> {
        let upload: [u8; 192] = self.output("registration_upload");
        let script = self.login_script(&[0; 64]);
        let started = ServerLogin::start(
            &mut DrawOpaque(&script),
            &self.setup(&self.input("server_public_key")),
            Some(ServerRegistration::deserialize(&upload).unwrap()),
            CredentialRequest::deserialize(&self.output::<96>("KE1")).unwrap(),
            &self.input("credential_identifier"),
            self.parameters(),
        );
        script.assert_spent();
        started.unwrap()
    }
}

/// `Expand(oprf_seed, credential_identifier || "OprfKey", Nok)`.
fn oprf_seed(seed: &[u8], identifier: &[u8]) -> [u8; 32] {
    let mut key_material = [0; 32];
    Hkdf::<sha2::Sha512>::from_prk(seed)
        .unwrap()
        .expand_multi_info(&[identifier, b"OprfKey"], &mut key_material)
        .unwrap();
    key_material
}

#[test]
fn our_client_registers_as_rfc_9807_says() {
    for case in Case::real() {
        let script = Script::new(&[&wide(&case.input("blind_registration"))]);
        let Ok((client, request)) = ClientRegistration::start(&case.input("password"), &script)
        else {
            panic!("the vector's password cannot be blinded");
        };
        script.assert_spent();
        assert_eq!(request, case.output("registration_request"));
        let script = Script::new(&[&case.input("envelope_nonce")]);
        let (upload, export_key) = client
            .finish(
                &case.output("registration_response"),
                &array(&case.inputs, "server_public_key"),
                &case.identities(),
                Ksf::DangerIdentity,
                &script,
            )
            .unwrap();
        script.assert_spent();
        assert_eq!(upload, case.output("registration_upload"));
        assert_eq!(*export_key, case.output("export_key"));
    }
}

#[test]
fn our_client_logs_in_as_rfc_9807_says() {
    for case in Case::real() {
        let script = Script::new(&[
            &wide(&case.input("blind_login")),
            &case.input("client_keyshare_seed"),
            &case.input("client_nonce"),
        ]);
        let Ok((client, ke1)) = ClientLogin::start(&case.input("password"), &script) else {
            panic!("the vector's password cannot be blinded");
        };
        script.assert_spent();
        assert_eq!(ke1, case.output("KE1"));
        assert_eq!(client.ke1(), ke1);
        let (ke3, export_key) = client
            .finish(
                &case.output("KE2"),
                &array(&case.inputs, "server_public_key"),
                &case.identities(),
                Ksf::DangerIdentity,
                &Script::new(&[]),
            )
            .unwrap();
        assert_eq!(ke3, case.output("KE3"));
        assert_eq!(*export_key, case.output("export_key"));
    }
}

#[test]
fn opaque_ke_answers_as_rfc_9807_says() {
    for case in Case::real() {
        let request: [u8; 32] = case.output("registration_request");
        let response = ServerRegistration::start(
            &case.setup(&case.input("server_public_key")),
            RegistrationRequest::deserialize(&request).unwrap(),
            &case.input("credential_identifier"),
        )
        .unwrap();
        let expected: [u8; 64] = case.output("registration_response");
        assert_eq!(response.message.serialize().as_slice(), expected);
        let started = case.library_login();
        let ke2: [u8; 320] = case.output("KE2");
        assert_eq!(started.message.serialize().as_slice(), ke2);
        let ke3: [u8; 64] = case.output("KE3");
        let ke3 = CredentialFinalization::deserialize(&ke3).unwrap();
        let finished = started.state.finish(ke3, case.parameters()).unwrap();
        assert_eq!(
            finished.session_key.as_slice(),
            case.output::<64>("session_key")
        );
    }
}

#[test]
fn an_unknown_user_is_answered_as_rfc_9807_says() {
    let vectors = of_our_suite("True");
    assert_eq!(vectors.len(), 1);
    for case in vectors.iter().map(Case::new) {
        let script = case.login_script(&case.input("masking_key"));
        let started = ServerLogin::start(
            &mut DrawOpaque(&script),
            &case.setup(&case.input("client_public_key")),
            None,
            CredentialRequest::deserialize(&case.input("KE1")).unwrap(),
            &case.input("credential_identifier"),
            case.parameters(),
        )
        .unwrap();
        script.assert_spent();
        let ke2: [u8; 320] = case.output("KE2");
        assert_eq!(started.message.serialize().as_slice(), ke2);
    }
}

#[test]
fn our_server_evaluates_and_checks_ke3_as_rfc_9807_says() {
    let server = OpaqueServer::from_seed(&[1; 32]);
    for case in Case::real() {
        let request = case.output("registration_request");
        let response = server.register_start(&case.oprf_seed(), &request).unwrap();
        assert_eq!(
            response[..32],
            case.output::<64>("registration_response")[..32]
        );
        let upload = case.output("registration_upload");
        assert!(server.check_upload(&upload).is_ok());
        let script = case.login_script(&[0; 64]);
        let seed = case.oprf_seed();
        let ke1 = case.output("KE1");
        let Ok((ke2, _)) = server.login_start(&seed, &upload, &ke1, &case.identities(), &script)
        else {
            panic!("the vector's KE1 is refused");
        };
        script.assert_spent();
        // Evaluated element and masking nonce; what follows is masked with the server's key in it.
        assert_eq!(ke2[..64], case.output::<320>("KE2")[..64]);
        let state = LoginState::from_slice(&case.library_login().state.serialize()).unwrap();
        let ke3: [u8; 64] = case.output("KE3");
        assert!(server.login_finish(&state, &ke3).is_ok());
        for position in [0, 31, 63] {
            let mut wrong = ke3;
            wrong[position] ^= 1;
            assert!(server.login_finish(&state, &wrong).is_err());
        }
    }
}

#[test]
fn our_server_answers_byte_for_byte_as_opaque_ke_does() {
    let seed = [0x5a; 32];
    let ours = OpaqueServer::from_seed(&seed);
    let scalar = Ristretto255::derive_scalar(GenericArray::clone_from_slice(&seed)).unwrap();
    let private = Ristretto255::serialize_sk(&scalar);
    for case in Case::real() {
        let parts = [
            case.input("oprf_seed"),
            private.to_vec(),
            ours.public_key().into(),
        ];
        let setup = ServerSetup::<Published>::deserialize(&parts.concat()).unwrap();
        assert_eq!(
            setup.keypair().public().serialize().as_slice(),
            ours.public_key()
        );
        let upload: [u8; 192] = case.output("registration_upload");
        let ke1: [u8; 96] = case.output("KE1");
        let theirs = ServerLogin::start(
            &mut DrawOpaque(&case.login_script(&[0; 64])),
            &setup,
            Some(ServerRegistration::deserialize(&upload).unwrap()),
            CredentialRequest::deserialize(&ke1).unwrap(),
            &case.input("credential_identifier"),
            case.parameters(),
        )
        .unwrap();
        // Absent identities mean the public keys, and this server has another than the vector's.
        let mut identities = case.identities();
        let public = ours.public_key();
        if case.inputs.get("server_identity").is_none() {
            identities.server = &public;
        }
        let script = case.login_script(&[0; 64]);
        let started = ours.login_start(&case.oprf_seed(), &upload, &ke1, &identities, &script);
        let Ok((ke2, state)) = started else {
            panic!("the vector's KE1 is refused")
        };
        assert_eq!(ke2.as_slice(), theirs.message.serialize().as_slice());
        assert_eq!(state.as_slice(), theirs.state.serialize().as_slice());
    }
}

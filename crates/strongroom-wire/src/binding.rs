//! What each seal and each OPAQUE run is bound to: the AADs, infos and identities that client and
//! HSM must form alike (DESIGN §4; `docs/protocol.md` has the bytes).

use crate::codec::{digest, digest_bytes, encode};
use crate::envelope::Header;
use crate::{Digest, FleetId, KeyId, Slot};
use alloc::vec::Vec;

/// HPKE `info` of a start: label ‖ fleet ‖ key id.
pub fn hpke_info(fleet: FleetId, key: KeyId) -> Vec<u8> {
    encode(&("strongroom/v1 hpke", fleet, key))
}

/// AAD of a start: the routing header.
pub fn start_aad(header: &Header) -> Vec<u8> {
    encode(header)
}

/// AAD of a finish, client to HSM: header and ticket.
pub fn finish_aad(header: &Header, ticket: &Digest) -> Vec<u8> {
    encode(&("strongroom/v1 finish", header, ticket))
}

/// AAD of the answer to a finish: also the very request it answers, so that an answer to another
/// finish under the same ticket cannot stand in for it.
pub fn finish_answer_aad(header: &Header, ticket: &Digest, sealed_request: &[u8]) -> Vec<u8> {
    let request = digest_bytes("strongroom/v1 finish request", sealed_request);
    encode(&("strongroom/v1 finish answer", header, ticket, request))
}

/// OPAQUE client identity: digest of [issuer, sub, slot].
pub fn client_identity(issuer: &str, subject: &str, slot: Slot) -> Digest {
    digest("strongroom/v1 client identity", &(issuer, subject, slot))
}

/// OPAQUE context: label ‖ fleet. The server identity is the fleet id itself.
pub fn opaque_context(fleet: FleetId) -> Vec<u8> {
    encode(&("strongroom/v1 opaque", fleet))
}

/// What the `cnf` key and the AAD call "this header".
pub fn header_digest(header: &Header) -> Digest {
    digest(crate::answer::HEADER_LABEL, header)
}

/// `aud` of a vault token: the fleet id in hexadecimal.
pub fn vault_audience(fleet: FleetId) -> alloc::string::String {
    alloc::format!("{fleet}")
}

/// `aud` of an admission token: the node in front of that fleet.
pub fn admission_audience(fleet: FleetId) -> alloc::string::String {
    alloc::format!("node:{fleet}")
}

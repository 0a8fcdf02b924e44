//! Every limit, once, with its derivation. Relations between limits are `const` assertions.

/// Greatest size of an account token, bytes (DESIGN §4: strict profile).
pub const TOKEN_BYTES_MAX: usize = 2048;
/// Greatest payload beside the root that a record keeps, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1024;
/// Greatest size of the wrapped secret, bytes: the large wrap class of `strongroom-crypto`, which
/// holds root and payload padded, plus commitment, nonce and tag.
pub const WRAPPED_BYTES_MAX: usize = 1280;
/// Wrapped secrets up to this size make a record of the small class, bytes.
pub const WRAPPED_BYTES_SMALL: usize = 256;
/// Greatest size of a sealed ticket, bytes.
pub const TICKET_BYTES_MAX: usize = 640;
/// An OPAQUE registration request (one ristretto255 element), bytes.
pub const REGISTRATION_REQUEST_BYTES: usize = 32;
/// An OPAQUE registration response, bytes.
pub const REGISTRATION_RESPONSE_BYTES: usize = 64;
/// An OPAQUE registration upload (the record of RFC 9807 §4.1), bytes.
pub const REGISTRATION_UPLOAD_BYTES: usize = 192;
/// OPAQUE KE1, bytes.
pub const KE1_BYTES: usize = 96;
/// OPAQUE KE2, bytes.
pub const KE2_BYTES: usize = 320;
/// OPAQUE KE3, bytes.
pub const KE3_BYTES: usize = 64;
/// An X-Wing encapsulation (ML-KEM-768 ciphertext, X25519 key), bytes.
pub const ENC_BYTES: usize = 1120;
/// An X-Wing public key, bytes.
pub const KEM_PUBLIC_BYTES: usize = 1216;
/// Padded plaintext sizes, bytes, by size class; both directions.
pub const SIZE_CLASSES: [usize; 3] = [1024, 2048, 4096];
/// Greatest size of an envelope on the wire, bytes: the largest class, its encapsulation or ticket,
/// and less than 160 bytes of header, nonce, tag and CBOR.
pub const ENVELOPE_BYTES_MAX: usize = SIZE_CLASSES[2] + ENC_BYTES + 160;
/// Greatest size of a sealed record, bytes: large class, nonce, tag, key epoch and generation.
pub const LEAF_BYTES_MAX: usize = RECORD_BYTES_LARGE + 96;
/// Plaintext of a record of the small class, bytes.
pub const RECORD_BYTES_SMALL: usize = 1088;
/// Plaintext of a record of the large class, bytes.
pub const RECORD_BYTES_LARGE: usize = 2176;
/// Plaintext of a tenant, bytes.
pub const TENANT_BYTES: usize = 2048;
/// Greatest number of requests in one batch.
pub const BATCH_MAX: usize = 256;
/// Batches proposed and not yet released, at most (DESIGN §6).
pub const PIPELINE_MAX: usize = 8;
/// Operations that the HSM holds for its host at once, at most. Bounds the memory inside: each
/// holds less than 16 KiB.
pub const HANDLES_MAX: usize = 2048;
/// Greatest frame from host to HSM, bytes: a full batch of large leaves with its proof.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Greatest frame from HSM to host, bytes: every answer of a full pipeline, released at once.
pub const RESPONSE_BYTES_MAX: usize = 12 * 1024 * 1024;
/// How far a promised epoch may be above the one promised before. Epochs are never used up by one
/// message of a host, nor by four thousand million.
pub const EPOCH_STEP_MAX: u64 = 1 << 32;
/// Greatest number of members (DESIGN: fleets of 1, 3, 5 or 7).
pub const MEMBERS_MAX: usize = 7;
/// Greatest number of issuer keys of one tenant.
pub const ISSUER_KEYS_MAX: usize = 8;
/// Greatest length of an issuer (`iss`) or subject (`sub`), bytes.
pub const ISSUER_BYTES_MAX: usize = 256;
/// How far an entry's time may be ahead of a notary's own clock, ms (DESIGN §6).
pub const CLOCK_SKEW_MS: u64 = 60_000;
/// How far an attempt or op id may be ahead of the fleet's time, ms (REVIEW C8).
pub const ATTEMPT_AHEAD_MS: u64 = 600_000;
/// Events in each of a record's two rings.
pub const RING: usize = 8;

const _: () = assert!(WRAPPED_BYTES_SMALL < WRAPPED_BYTES_MAX);
const _: () = assert!(KE2_BYTES + WRAPPED_BYTES_MAX + TICKET_BYTES_MAX + 512 < SIZE_CLASSES[2]);
const _: () = assert!(TOKEN_BYTES_MAX + KE1_BYTES + 256 < SIZE_CLASSES[2]);
const _: () = assert!(BATCH_MAX * LEAF_BYTES_MAX * 2 < FRAME_BYTES_MAX);
const _: () = assert!(PIPELINE_MAX * BATCH_MAX * (SIZE_CLASSES[2] + 128) < RESPONSE_BYTES_MAX);

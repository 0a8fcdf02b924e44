//! What a phone shows: tokens, possession of their key, and the owner's proofs.

use super::{Outgoing, Owner, Phone};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_wire::request::{Authorization, Operation, OwnerProof};
use strongroom_wire::{Digest, OpId, PublicKey, Signature, UnixMs, binding, encode};

/// How long a token lives, in seconds.
const TOKEN_LIFE_S: u64 = 600;

impl Phone {
    /// What it authorizes a request with.
    pub fn authorization(&self, out: &Outgoing, now: UnixMs) -> Authorization {
        let possession = self.holder.map(|seed| {
            let key = SigningKey::from_seed(&seed);
            let statement = encode(&out.possession());
            Signature(statement::sign(&key, Label::TokenPossession, &statement))
        });
        let token = self.token.clone().unwrap_or_else(|| self.fresh_token(now));
        Authorization { token, possession }
    }

    /// A token as the user's app gets it.
    pub fn fresh_token(&self, now: UnixMs) -> String {
        let seconds = now.0 / 1000;
        let audience = binding::vault_audience(self.manifest.fleet_id());
        let cnf = self.holder.map_or_else(String::new, |seed| {
            let key = SigningKey::from_seed(&seed).public();
            let x = Base64UrlUnpadded::encode_string(&key);
            format!(r#","cnf":{{"jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#)
        });
        let claims = format!(
            r#"{{"iss":"{}","sub":"{}","aud":"{audience}","exp":{},"iat":{seconds}{cnf}}}"#,
            self.issuer.name,
            self.subject,
            seconds + TOKEN_LIFE_S,
        );
        let header = Base64UrlUnpadded::encode_string(br#"{"alg":"EdDSA","kid":"k"}"#);
        let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
        let input = format!("{header}.{claims}");
        let key = SigningKey::from_seed(&self.issuer.token_seed);
        let signature = Base64UrlUnpadded::encode_string(&key.sign_raw(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// What the root of `owner` signs.
    pub fn owner_proof(
        &self,
        owner: &Owner,
        operation: Operation,
        op: OpId,
        body: Digest,
        enc: Digest,
    ) -> Signature {
        let fleet = self.manifest.fleet_id();
        let statement = OwnerProof {
            fleet,
            incarnation: owner.incarnation,
            operation,
            record: owner.record,
            generation: owner.generation,
            op,
            body,
            enc,
        };
        let key = owner.root.owner_key(&fleet.0, &owner.record.0);
        Signature(statement::sign(
            &key,
            Label::OwnerProof,
            &encode(&statement),
        ))
    }

    /// The public half of the key that `owner` signs with.
    pub fn owner_key(&self, owner: &Owner) -> PublicKey {
        let fleet = self.manifest.fleet_id();
        PublicKey(owner.root.owner_key(&fleet.0, &owner.record.0).public())
    }
}

//! Account tokens: what the app's server gives its signed-in user (DESIGN §4, identity).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::future::Future;
use strongroom_crypto::statement::SigningKey;

/// One set of tokens, and the key that the vault token is bound to.
#[derive(Clone)]
pub struct Tokens {
    /// Lets the request through the node.
    pub admission: String,
    /// Read by the HSM only.
    pub vault: String,
    /// Proves possession of the vault token; none for a bearer tenant.
    pub possession: Option<SigningKey>,
    /// `iss` of the vault token.
    pub issuer: String,
    /// `sub` of the vault token.
    pub subject: String,
}

/// No tokens to be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The vault token is no JWT with `iss` and `sub`.
    #[error("the account token is not a JWT with an issuer and a subject")]
    Malformed,
    /// The source failed.
    #[error("the account tokens could not be had: {0}")]
    Source(String),
}

#[derive(Deserialize)]
struct Names {
    iss: String,
    sub: String,
}

impl Tokens {
    /// Reads the names in the vault token. Its signature is the fleet's business.
    ///
    /// # Errors
    /// [`TokenError::Malformed`].
    pub fn new(
        admission: String,
        vault: String,
        possession: Option<SigningKey>,
    ) -> Result<Self, TokenError> {
        let claims = vault.split('.').nth(1).ok_or(TokenError::Malformed)?;
        let claims = URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|_| TokenError::Malformed)?;
        let names: Names = serde_json::from_slice(&claims).map_err(|_| TokenError::Malformed)?;
        Ok(Self {
            admission,
            vault,
            possession,
            issuer: names.iss,
            subject: names.sub,
        })
    }
}

/// Gives fresh tokens whenever a request needs them.
pub trait TokenSource: Send + Sync {
    /// Fresh tokens.
    fn tokens(&self) -> impl Future<Output = Result<Tokens, TokenError>> + Send;
}

/// Asks a program, which prints `{"admission", "vault", "possession"}` (the last one: 32 bytes in
/// hexadecimal, or absent).
pub struct CommandTokens(pub String);

#[derive(Deserialize)]
struct Printed {
    admission: String,
    vault: String,
    possession: Option<String>,
}

impl TokenSource for CommandTokens {
    async fn tokens(&self) -> Result<Tokens, TokenError> {
        let output = tokio::process::Command::new("sh")
            .arg("-c")
            .arg(&self.0)
            .output()
            .await;
        let output = output.map_err(|e| TokenError::Source(e.to_string()))?;
        if !output.status.success() {
            return Err(TokenError::Source(format!(
                "the command ended with {}",
                output.status
            )));
        }
        let printed: Printed = serde_json::from_slice(&output.stdout)
            .map_err(|_| TokenError::Source("the command printed no token JSON".to_owned()))?;
        let seed = printed.possession.map(|text| {
            let bytes = hex::decode(text.trim()).unwrap_or_default();
            <[u8; 32]>::try_from(bytes)
                .map_err(|_| TokenError::Source("the possession key is not 32 bytes".to_owned()))
        });
        let possession = seed.transpose()?.map(|seed| SigningKey::from_seed(&seed));
        Tokens::new(printed.admission, printed.vault, possession)
    }
}

//! Structured logs at TRACE level through a whole session, searched for what must not be there.

use crate::common::{SLOT, Server, guess, until};
use base64::Engine as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use strongroom_node::Limits;
use strongroom_wire::answer::Answer;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn capture() -> Captured {
    let captured = Captured::default();
    let logs = tracing_subscriber::fmt().json();
    let logs = logs.with_env_filter(EnvFilter::new("trace"));
    logs.with_writer(captured.clone()).try_init().unwrap();
    captured
}

/// Each way that bytes may be written into a log.
fn spellings(bytes: &[u8]) -> Vec<String> {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut spelled = vec![
        hex::encode(bytes),
        STANDARD_NO_PAD.encode(bytes),
        URL_SAFE_NO_PAD.encode(bytes),
        list.join(", "),
        list.join(","),
    ];
    spelled.extend(std::str::from_utf8(bytes).map(str::to_owned));
    spelled
}

/// What a session knows and a log must not.
type Secrets = Vec<(&'static str, Vec<u8>)>;

fn signature(token: &str) -> Vec<u8> {
    token.rsplit('.').next().unwrap().as_bytes().to_vec()
}

/// Registered, recovered, mistyped, refused; the HSM killed and started again.
async fn session(server: &Server) -> Secrets {
    let user = server.user("alice-whose-name-nobody-logs");
    let vault = server.vault(&user).await;
    let (code, payload) = (b"code-for-alice-7391", b"payload-of-alice-2846");
    let made = vault.register(code, payload, SLOT, None).await.unwrap();
    vault.recover(code, SLOT).await.unwrap();
    assert!(vault.recover(b"wrong-code-5527", SLOT).await.is_err());
    let fleet = server.bundle().await;
    let tokens = user.now();
    let outgoing = guess(code).request(&fleet, &tokens).unwrap();
    let token = Some(tokens.admission.as_str());
    let got = server.post("/v1/vault", token, outgoing.envelope.clone());
    let answer = got.await.body;
    let Answer::RecoverStarted(started) = outgoing.open(&answer).unwrap() else {
        panic!("not started");
    };
    let forged = format!("{}x", tokens.admission);
    let refused = server.post("/v1/vault", Some(&forged), outgoing.envelope.clone());
    assert_eq!(refused.await.status, 401);
    let damaged = outgoing.envelope[..outgoing.envelope.len() - 1].to_vec();
    assert_eq!(server.post("/v1/vault", token, damaged).await.status, 400);
    let first = server.hsm_pid().unwrap();
    server.signal(rustix::process::Signal::KILL);
    let another = || async { server.hsm_pid().filter(|pid| *pid != first) };
    until("another HSM", another).await;
    server.ready().await;
    vec![
        ("code", code.to_vec()),
        ("wrong code", b"wrong-code-5527".to_vec()),
        ("payload", payload.to_vec()),
        ("subject", user.subject.clone().into_bytes()),
        ("record id", started.record.0.to_vec()),
        ("admission token", signature(&tokens.admission)),
        ("any token", b"eyJ0eXAiOiJKV1Qi".to_vec()),
        ("vault token", signature(&tokens.vault)),
        ("possession key", user.possession.public().to_vec()),
        ("age secret", made.keys.age_secret().to_vec()),
        ("envelope", outgoing.envelope[200..232].to_vec()),
        ("answer", answer[100..132].to_vec()),
        ("ke2", started.ke2[..32].to_vec()),
        ("finish key", started.grant.to_hsm.to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_code_account_record_payload_or_key_is_logged_at_any_level() {
    let captured = capture();
    let mut server = Server::start(Limits::default()).await;
    let secrets = session(&server).await;
    server.stop().await;
    let mut log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["timestamp"].is_string());
    }
    // The log is on, at every level: else its silence proves nothing.
    for level in ["TRACE", "INFO", "WARN", "ERROR"] {
        let lines = log.lines().count();
        let named = format!("\"level\":\"{level}\"");
        assert!(log.contains(&named), "{level} is not among {lines} lines");
    }
    assert!(log.contains("\"message\":\"leads\""));
    assert!(log.contains("the HSM process ended: it was killed"));
    log.push_str(&std::fs::read_to_string(server.hsm_log()).unwrap());
    for (what, secret) in secrets {
        for spelling in spellings(&secret) {
            let found = log.lines().find(|line| line.contains(&spelling));
            assert!(found.is_none(), "{what}: {}", found.unwrap_or_default());
        }
    }
}

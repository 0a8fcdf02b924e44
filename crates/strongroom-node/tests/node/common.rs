//! A node under test, in this process, and its HSM in one of its own.

use crate::issuer::{self, Issuer, User};
use reqwest::{Certificate, Client, Method};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_client::session::{self, Outgoing, Recovery};
use strongroom_client::transport::Http;
use strongroom_client::{Fleet, Ksf, MemoryJournal, Roots, Vault};
use strongroom_crypto::statement::SigningKey;
use strongroom_node::genesis::{self, Founders, Plan};
use strongroom_node::{Config, Limits, Node, NodeError, PeersConfig};
use strongroom_wire::answer::Answer;
use strongroom_wire::manifest::Policy;
use strongroom_wire::tenant::Tenant;
use strongroom_wire::{FleetId, PublicKey, Slot};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const SLOT: Slot = Slot(0);

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `check` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What an HTTP request came to.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<u64>,
    pub allow: Option<String>,
    pub body: Vec<u8>,
}

impl Got {
    /// The name of a problem; anything else fails.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["status"], self.status);
        let name = body["title"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("urn:strongroom:problem:{name}"));
        assert!(!body["detail"].as_str().unwrap().is_empty());
        name
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A member of a fleet on disk, and the node in front of it while it runs.
pub struct Server {
    pub place: TempDir,
    pub config: Config,
    pub fleet: FleetId,
    pub issuer: Arc<Issuer>,
    running: Option<Running>,
}

struct Running {
    base: String,
    client: Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), NodeError>>,
}

/// Starts this test program as the HSM (`main.rs`), notes its process id and keeps its words.
fn hsm_command(place: &std::path::Path) -> Vec<String> {
    let script = r#"echo $$ > "$0.new" && mv "$0.new" "$0.pid" && exec "$@" 2>> "$0.log""#;
    let own = std::env::current_exe().unwrap();
    let test = "this_program_is_the_hsm_when_it_is_started_as_one";
    let arguments = ["--exact", test, "--nocapture", "--test-threads=1", "--"];
    let mut command = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
    command.push(place.join("process").display().to_string());
    command.push(own.display().to_string());
    command.extend(arguments.map(str::to_owned));
    command
}

/// Who founds every fleet here.
pub fn founders() -> Founders {
    Founders {
        admin: PublicKey(issuer::admin().public()),
        operator: SigningKey::from_seed(&[2; 32]),
        officers: Vec::new(),
    }
}

/// What every fleet here is.
pub fn plan() -> Plan {
    Plan {
        policy: Policy::development(),
        rollback_tolerance: 0,
    }
}

impl Server {
    /// A new fleet of one; not running yet.
    pub async fn found() -> Self {
        Self::found_members(vec![None]).await.remove(0)
    }

    /// A new fleet, of as many members as there are ways to the others; none running yet.
    pub async fn found_members(peers: Vec<Option<PeersConfig>>) -> Vec<Self> {
        let places: Vec<TempDir> = peers.iter().map(|_| tempfile::tempdir().unwrap()).collect();
        let configs = places.iter().zip(peers).map(|(place, peers)| Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data: place.path().join("data"),
            hsm: Some(hsm_command(place.path())),
            certificate: None,
            key: None,
            record: None,
            peers,
        });
        let configs: Vec<Config> = configs.collect();
        let bundle = genesis::found(&configs, &founders(), plan()).await;
        let fleet = bundle.unwrap().manifest().unwrap().fleet_id();
        let issuer = Arc::new(Issuer::ed25519("app.example"));
        let members = places.into_iter().zip(configs);
        let members = members.map(|(place, config)| Self {
            place,
            config,
            fleet,
            issuer: issuer.clone(),
            running: None,
        });
        members.collect()
    }

    /// A new fleet at work, with one tenant whose rates are out of the way.
    pub async fn start(limits: Limits) -> Self {
        let mut server = Self::found().await;
        server.run(limits).await;
        server.ready().await;
        let tenant = server.issuer.tenant(10_000, 10_000);
        server.create(tenant).await;
        server
    }

    /// Serves, on a new port.
    pub async fn run(&mut self, limits: Limits) {
        let config = self.config.clone();
        let open = || async {
            match Node::open_with(&config, limits) {
                Ok(node) => Some(node),
                Err(error) if error.to_string().contains("is in use") => None,
                Err(error) => panic!("{error}"),
            }
        };
        let node = until("the store is let go of", open).await;
        let base = format!("https://{}", node.address().unwrap());
        let authority = Certificate::from_pem(&self.authority()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).build();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(node.run(async {
            let _ = stopped.await;
        }));
        self.running = Some(Running {
            base,
            client: client.unwrap(),
            stop,
            serving,
        });
    }

    pub fn authority(&self) -> Vec<u8> {
        std::fs::read(self.config.tls_dir().join("ca.pem")).unwrap()
    }

    /// Stops in order.
    pub async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        let _ = running.stop.send(());
        running.serving.await.unwrap().unwrap();
    }

    /// How serving ended by itself.
    pub async fn ended(&mut self) -> Result<(), NodeError> {
        self.running.take().unwrap().serving.await.unwrap()
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn has_ended(&self) -> bool {
        self.running().serving.is_finished()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn base(&self) -> &str {
        &self.running().base
    }

    /// A request, ready to be sent from any task.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> impl Future<Output = reqwest::Result<Got>> + Send + 'static {
        let url = format!("{}{path}", self.base());
        let request = self.running().client.request(method, url).body(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        async {
            let response = request.send().await?;
            let header = |name| {
                let value = response.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            Ok(Got {
                status: response.status().as_u16(),
                content_type: header("content-type").unwrap_or_default(),
                retry_after: header("retry-after").map(|seconds| seconds.parse().unwrap()),
                allow: header("allow"),
                body: response.bytes().await?.to_vec(),
            })
        }
    }

    pub async fn get(&self, path: &str) -> Got {
        let got = self.request(Method::GET, path, None, Vec::new());
        got.await.unwrap()
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: Vec<u8>) -> Got {
        self.request(Method::POST, path, token, body).await.unwrap()
    }

    /// Posts an envelope under a fresh token of the user's.
    pub async fn send(&self, user: &User, envelope: Vec<u8>) -> Got {
        let token = user.now().admission;
        self.post("/v1/vault", Some(&token), envelope).await
    }

    pub async fn ready(&self) {
        until("ready", || async {
            (self.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    pub async fn create(&self, tenant: Tenant) {
        let change = issuer::create(self.fleet, tenant);
        let created = self.post("/v1/tenants", None, change).await;
        assert_eq!(created.status, 204, "{}", created.text());
    }

    pub fn user_of(&self, issuer: &Arc<Issuer>, subject: &str) -> User {
        User {
            issuer: issuer.clone(),
            fleet: self.fleet,
            subject: subject.to_owned(),
            possession: SigningKey::from_seed(&[9; 32]),
        }
    }

    pub fn user(&self, subject: &str) -> User {
        self.user_of(&self.issuer, subject)
    }

    pub async fn vault(&self, user: &User) -> Vault<User> {
        let http = Http::new(self.base(), Some(&self.authority())).unwrap();
        let roots = Roots::development(self.fleet);
        let journal = Arc::new(MemoryJournal::default());
        let vault = Vault::connect(http, &roots, user.clone(), journal).await;
        vault.unwrap().with_ksf(Ksf::Argon2idM19T2)
    }

    pub async fn bundle(&self) -> Fleet {
        let bundle = self.get("/v1/fleet").await.body;
        Fleet::from_bundle(&bundle, &Roots::development(self.fleet)).unwrap()
    }

    /// Sends an envelope of a user's and opens the answer.
    pub async fn ask(&self, user: &User, outgoing: &Outgoing) -> Answer {
        let got = self.send(user, outgoing.envelope.clone()).await;
        assert_eq!(got.status, 200, "{}", got.text());
        outgoing.open(&got.body).unwrap()
    }

    /// An envelope that asks for the user's status.
    pub fn status_of(&self, fleet: &Fleet, user: &User) -> Outgoing {
        session::status(fleet, &user.now(), SLOT, None).unwrap()
    }

    pub async fn attempts_left(&self, user: &User) -> u8 {
        let outgoing = self.status_of(&self.bundle().await, user);
        match self.ask(user, &outgoing).await {
            Answer::Status(report) => report.attempts_left,
            other => panic!("{other:?}"),
        }
    }

    pub async fn status(&self) -> Value {
        let status = self.get("/v1/status").await;
        serde_json::from_slice(&status.body).unwrap()
    }

    /// A number of `/v1/status`.
    pub async fn standing(&self, name: &str) -> u64 {
        self.status().await["standing"][name].as_u64().unwrap()
    }

    pub fn hsm_pid(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.place.path().join("process.pid")).ok()?;
        text.trim().parse().ok()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.hsm_pid().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGSTOP, until no thread of it runs any more.
    pub async fn freeze_hsm(&self) {
        self.signal(rustix::process::Signal::STOP);
        let tasks = format!("/proc/{}/task", self.hsm_pid().unwrap());
        let stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let state = stat.rsplit_once(") ")?.1.chars().next()?;
            Some(state == 'T')
        };
        until("every thread stops", || async {
            let mut tasks = std::fs::read_dir(&tasks).unwrap();
            tasks.all(|task| stopped(task) == Some(true)).then_some(())
        })
        .await;
    }

    pub fn hsm_log(&self) -> PathBuf {
        self.place.path().join("process.log")
    }
}

/// A guess with a code, new in each call.
pub fn guess(code: &[u8]) -> Recovery {
    let attempt = session::new_attempt(strongroom_client::vault::now(), None);
    Recovery::new(code, SLOT, attempt).unwrap()
}

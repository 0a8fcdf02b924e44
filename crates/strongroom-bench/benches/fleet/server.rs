//! A fleet: this program again, as every member's node and HSM, in processes of their own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_client::issuer::Issuer;
use strongroom_client::transport::{Http, TransportError};
use strongroom_client::{Fleet, Roots};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_node::genesis::{self, Founders, Plan};
use strongroom_node::{Config, Node, PeersConfig};
use strongroom_wire::manifest::{Bundle, Policy};
use strongroom_wire::tenant::{SignedTenantChange, Tenant, TenantChange};
use strongroom_wire::{FleetId, PublicKey, Signature, decode, encode};

const ADMIN: [u8; 32] = [1; 32];
const OPERATOR: [u8; 32] = [2; 32];
const ISSUER: [u8; 32] = [3; 32];

/// Longest wait for members to come up, or to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A member's process: serves until it is killed, or whoever started it is gone.
pub fn serve(file: &Path) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = Config::read(file).expect("a configuration");
        let node = Node::open(&config).expect("a node");
        node.run(std::future::pending()).await.expect("serves");
    });
    ExitCode::SUCCESS
}

/// CPU seconds used so far, all members together.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub nodes: f64,
    pub hsms: f64,
    /// This process: the clients.
    pub clients: f64,
}

/// One member.
struct Member {
    id: u8,
    config: Config,
    file: PathBuf,
    child: Mutex<Child>,
    /// To this one only.
    http: Http,
}

/// What a node says of itself.
struct Status {
    leader: Option<u64>,
    index: u64,
    epoch: u64,
    leads: bool,
}

/// A running fleet, killed on drop.
pub struct Server {
    members: Vec<Member>,
    pub http: Ways,
    pub fleet: Fleet,
    pub issuer: Issuer,
}

/// Ways to the fleet: each begins with another member.
pub struct Ways {
    ways: Vec<Http>,
    next: AtomicUsize,
    /// All requests go this way; if it is none of them, each goes the next.
    only: AtomicUsize,
}

impl Ways {
    /// Posts a body.
    pub async fn post(
        &self,
        path: &str,
        admission: Option<&str>,
        body: &[u8],
    ) -> Result<Vec<u8>, TransportError> {
        let way = self.ways.get(self.only.load(Ordering::Relaxed));
        let next = || &self.ways[self.next.fetch_add(1, Ordering::Relaxed) % self.ways.len()];
        way.unwrap_or_else(next).post(path, admission, body).await
    }

    /// Sends all to one member, or to each in turn.
    pub fn aim(&self, member: Option<u8>) {
        let only = member.map_or(usize::MAX, |id| usize::from(id) - 1);
        self.only.store(only, Ordering::Relaxed);
    }
}

impl Server {
    /// Founds a fleet in an empty directory and starts it, with one tenant whose rates are out of
    /// the way.
    pub async fn start(dir: &Path, members: u8) -> Self {
        let configs = configs(dir, members);
        let founders = Founders {
            admin: PublicKey(SigningKey::from_seed(&ADMIN).public()),
            operator: SigningKey::from_seed(&OPERATOR),
            officers: Vec::new(),
        };
        let plan = Plan {
            policy: Policy::development(),
            rollback_tolerance: 0,
        };
        let bundle = genesis::found(&configs, &founders, plan).await;
        let bundle = encode(&bundle.expect("a fleet"));
        let mut started = Vec::new();
        for (config, id) in configs.into_iter().zip(1..) {
            started.push(started_member(dir, id, config).await);
        }
        let parsed: Bundle = decode(&bundle).expect("a bundle");
        let roots = Roots::development(parsed.manifest().expect("a manifest").fleet_id());
        let fleet = Fleet::from_bundle(&bundle, &roots).expect("a good bundle");
        let server = Self {
            http: ways(&started),
            members: started,
            fleet,
            issuer: Issuer::new("bench", &ISSUER),
        };
        server.caught_up().await;
        let change = tenant(server.fleet.id(), &server.issuer);
        let created = server.http.post("/v1/tenants", None, &change).await;
        created.expect("a tenant");
        server
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    fn member(&self, id: u8) -> &Member {
        &self.members[usize::from(id) - 1]
    }

    /// The process of a member's node.
    pub fn node(&self, id: u8) -> u32 {
        self.member(id).child.lock().expect("no panic").id()
    }

    /// The process of a member's HSM.
    pub fn hsm(&self, id: u8) -> Option<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.node(id))).ok()?;
        let mut children = tasks.flatten().flat_map(|task| {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let pids: Vec<u32> = list.split_whitespace().flat_map(str::parse).collect();
            pids
        });
        children.next()
    }

    /// SIGKILL to a member's node; its HSM goes with it.
    pub fn kill(&self, id: u8) {
        let mut child = self.member(id).child.lock().expect("no panic");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts a killed member again.
    pub fn revive(&self, id: u8) {
        let member = self.member(id);
        *member.child.lock().expect("no panic") = spawned(&member.file);
    }

    /// CPU used by all processes that live, all threads.
    pub fn cpu(&self) -> Cpu {
        let ids = || self.members.iter().map(|member| member.id);
        Cpu {
            nodes: ids().map(|id| cpu_seconds(self.node(id))).sum(),
            hsms: ids().filter_map(|id| self.hsm(id)).map(cpu_seconds).sum(),
            clients: cpu_seconds(std::process::id()),
        }
    }

    async fn status(&self, member: &Member) -> Option<Status> {
        let asked = tokio::time::timeout(Duration::from_millis(400), member.http.get("/v1/status"));
        let text = asked.await.ok()?.ok()?;
        let status: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let standing = &status["standing"];
        Some(Status {
            leader: status["leader"].as_u64(),
            index: standing["index"].as_u64()?,
            epoch: standing["epoch"].as_u64()?,
            leads: standing["leading"].as_bool()?,
        })
    }

    /// Who leads.
    pub async fn leader(&self) -> u8 {
        let led = async {
            loop {
                let mut leader = None;
                for member in &self.members {
                    match self.status(member).await {
                        Some(status) if status.leads => {
                            leader = leader.max(Some((status.epoch, member.id)));
                        }
                        _ => {}
                    }
                }
                match leader {
                    Some((_, leader)) => return leader,
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let led = tokio::time::timeout(PATIENCE, led).await;
        led.expect("nobody leads for a minute")
    }

    /// Until every member follows one leader and stands where the others stood a moment ago.
    pub async fn caught_up(&self) {
        let caught_up = async {
            let mut before = u64::MAX;
            loop {
                let (mut leaders, mut indices) = (Vec::new(), Vec::new());
                for member in &self.members {
                    let status = self.status(member).await;
                    leaders.push(status.as_ref().and_then(|status| status.leader));
                    indices.push(status.map_or(0, |status| status.index));
                }
                let agreed = leaders[0].is_some() && leaders.iter().all(|l| *l == leaders[0]);
                if agreed && indices.iter().all(|index| *index >= before) {
                    return;
                }
                before = indices.into_iter().max().unwrap_or_default();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let caught_up = tokio::time::timeout(PATIENCE, caught_up).await;
        caught_up.expect("a member did not catch up within a minute");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for member in &self.members {
            self.kill(member.id);
        }
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

fn configs(dir: &Path, members: u8) -> Vec<Config> {
    let program = std::env::current_exe().expect("this program has a path");
    let ports: BTreeMap<u8, SocketAddr> = (1..=members).map(|id| (id, free())).collect();
    let config = |id: u8| {
        let others = ports.iter().filter(|(other, _)| **other != id);
        let addresses = others.map(|(other, address)| (other.to_string(), address.to_string()));
        Config {
            listen: free(),
            data: dir.join(format!("member-{id}/data")),
            hsm: Some(vec![program.display().to_string(), "hsm".to_owned()]),
            certificate: None,
            key: None,
            record: None,
            peers: (members > 1).then(|| PeersConfig {
                listen: ports[&id],
                address: None,
                addresses: addresses.collect(),
            }),
        }
    };
    (1..=members).map(config).collect()
}

fn spawned(file: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .arg("serve")
        .arg(file)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a member starts")
}

async fn started_member(dir: &Path, id: u8, config: Config) -> Member {
    let file = dir.join(format!("member-{id}/node.toml"));
    std::fs::write(&file, config.to_toml()).expect("a file");
    let child = Mutex::new(spawned(&file));
    let authority = config.tls_dir().join("ca.pem");
    let authority = loop {
        match std::fs::read(&authority) {
            Ok(authority) if !authority.is_empty() => break authority,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let server = format!("https://{}", config.listen);
    let http = Http::new(&server, Some(&authority)).expect("settings");
    Member {
        id,
        config,
        file,
        child,
        http,
    }
}

fn ways(members: &[Member]) -> Ways {
    let mut bases = Vec::new();
    let mut authorities = Vec::new();
    for member in members {
        bases.push(format!("https://{}", member.config.listen));
        let authority = std::fs::read(member.config.tls_dir().join("ca.pem"));
        authorities.extend(authority.expect("the authority"));
    }
    let way = |first: usize| {
        let mut bases = bases.clone();
        bases.rotate_left(first);
        Http::to_any(&bases, Some(&authorities)).expect("settings")
    };
    Ways {
        ways: (0..members.len()).map(way).collect(),
        next: AtomicUsize::new(0),
        only: AtomicUsize::new(usize::MAX),
    }
}

fn tenant(fleet: FleetId, issuer: &Issuer) -> Vec<u8> {
    let tenant = Tenant {
        issuer: issuer.name.clone(),
        root: PublicKey(SigningKey::from_seed(&ADMIN).public()),
        version: 1,
        keys: vec![issuer.public()],
        bearer: false,
        account_rate: 1_000_000,
        tenant_rate: 10_000_000,
    };
    let change = encode(&TenantChange::Create { fleet, tenant });
    let admin = SigningKey::from_seed(&ADMIN);
    let signature = Signature(statement::sign(&admin, Label::TenantCreate, &change));
    encode(&SignedTenantChange { change, signature })
}

/// 0 once it is gone.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted behind the name in brackets.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> f64 { fields.next().and_then(|f| f.parse().ok()).unwrap_or(0.0) };
    let hertz = rustix::param::clock_ticks_per_second();
    (ticks() + ticks()) / hertz as f64
}

//! The vault under load: this program again, as node and as HSM, in processes of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use strongroom_client::issuer::Issuer;
use strongroom_client::transport::Http;
use strongroom_client::{Fleet, Roots};
use strongroom_crypto::statement::{self, Label, SigningKey};
use strongroom_node::genesis::{self, Founders, Plan};
use strongroom_node::{Config, Node};
use strongroom_wire::manifest::Policy;
use strongroom_wire::tenant::{SignedTenantChange, Tenant, TenantChange};
use strongroom_wire::{PublicKey, Signature, decode, encode};

const ADMIN: [u8; 32] = [1; 32];
const OPERATOR: [u8; 32] = [2; 32];
const ISSUER: [u8; 32] = [3; 32];

fn config(dir: &Path) -> Config {
    let program = std::env::current_exe().expect("this program has a path");
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        data: dir.to_owned(),
        hsm: Some(vec![program.display().to_string(), "hsm".to_owned()]),
        certificate: None,
        key: None,
        record: None,
        peers: None,
    }
}

/// The server's process: founds a fleet, says where it listens, serves until it is killed.
pub fn serve(dir: &Path) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = config(dir);
        let founders = Founders {
            admin: PublicKey(SigningKey::from_seed(&ADMIN).public()),
            operator: SigningKey::from_seed(&OPERATOR),
            officers: Vec::new(),
        };
        let plan = Plan {
            policy: Policy::development(),
            rollback_tolerance: 0,
        };
        let members = std::slice::from_ref(&config);
        let founded = genesis::found(members, &founders, plan).await;
        founded.expect("a fleet");
        let node = Node::open(&config).expect("a node");
        let address = node.address().expect("an address").to_string();
        std::fs::write(config.data.join("address.new"), address).expect("a file");
        let ready = config.data.join("address");
        std::fs::rename(config.data.join("address.new"), ready).expect("a file");
        node.run(std::future::pending()).await.expect("serves");
    });
    ExitCode::SUCCESS
}

/// A running server, killed on drop.
pub struct Server {
    child: Child,
    dir: PathBuf,
    pub http: Http,
    pub fleet: Fleet,
    pub issuer: Issuer,
}

/// CPU seconds used so far.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub node: f64,
    pub hsm: f64,
}

impl Server {
    /// Starts it in an empty directory, with one tenant whose rates are out of the way.
    pub async fn start(dir: &Path) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg("serve")
            .arg(dir)
            .stdin(Stdio::null())
            .spawn()
            .expect("the server starts");
        let address = loop {
            match std::fs::read_to_string(dir.join("address")) {
                Ok(address) => break address,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        let authority = std::fs::read(dir.join("tls/ca.pem")).expect("the authority");
        let http = Http::new(&format!("https://{address}"), Some(&authority)).expect("settings");
        let bundle = http.get("/v1/fleet").await.expect("the bundle");
        let parsed: strongroom_wire::manifest::Bundle = decode(&bundle).expect("a bundle");
        let roots = Roots::development(parsed.manifest().expect("a manifest").fleet_id());
        let fleet = Fleet::from_bundle(&bundle, &roots).expect("a good bundle");
        let issuer = Issuer::new("bench", &ISSUER);
        let tenant = Tenant {
            issuer: issuer.name.clone(),
            root: PublicKey(SigningKey::from_seed(&ADMIN).public()),
            version: 1,
            keys: vec![issuer.public()],
            bearer: false,
            account_rate: 1_000_000,
            tenant_rate: 10_000_000,
        };
        let fleet_id = fleet.id();
        let change = encode(&TenantChange::Create {
            fleet: fleet_id,
            tenant,
        });
        let admin = SigningKey::from_seed(&ADMIN);
        let signature = Signature(statement::sign(&admin, Label::TenantCreate, &change));
        let signed = encode(&SignedTenantChange { change, signature });
        http.post("/v1/tenants", None, &signed)
            .await
            .expect("a tenant");
        Self {
            child,
            dir: dir.to_owned(),
            http,
            fleet,
            issuer,
        }
    }

    fn hsm(&self) -> u32 {
        let node = self.child.id();
        let tasks = std::fs::read_dir(format!("/proc/{node}/task")).expect("a live process");
        let mut children = tasks.flatten().flat_map(|task| {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let pids: Vec<u32> = list.split_whitespace().flat_map(str::parse).collect();
            pids
        });
        children.next().expect("the node has an HSM process")
    }

    /// CPU used by both processes, all threads.
    pub fn cpu(&self) -> Cpu {
        Cpu {
            node: cpu_seconds(self.child.id()),
            hsm: cpu_seconds(self.hsm()),
        }
    }

    /// Resident memory of the HSM process now, KiB.
    pub fn hsm_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.hsm()));
        let status = status.expect("a live process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect("VmRSS")
    }

    /// Bytes that store and HSM occupy on disk.
    pub fn disk_bytes(&self) -> u64 {
        occupied(&self.dir)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a live process");
    // Fields 14 and 15, counted behind the name in brackets.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> f64 { fields.next().and_then(|f| f.parse().ok()).unwrap_or(0.0) };
    let hertz = rustix::param::clock_ticks_per_second();
    (ticks() + ticks()) / hertz as f64
}

fn occupied(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(about) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    about.blocks() * 512 + below.map(|entry| occupied(&entry.path())).sum::<u64>()
}

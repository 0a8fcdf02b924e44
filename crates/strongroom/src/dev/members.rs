//! The members of a development fleet: one in this process, or each in a process of its own.

use crate::cli::Dev;
use crate::output::{Failure, Kind};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use strongroom_client::Os;
use strongroom_crypto::random::Entropy as _;
use strongroom_node::{Config, Node, PeersConfig};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Mutex;

/// A member and where it is configured; the only one of a fleet has no file.
struct Planned {
    id: u8,
    config: Config,
    file: Option<PathBuf>,
}

/// A fleet to be started.
pub(super) struct Members(Vec<Planned>);

/// A running fleet.
pub(super) struct Running {
    members: Vec<(Planned, Option<u32>, String)>,
    alone: Mutex<Option<Node>>,
    children: Mutex<Vec<(u8, Child)>>,
    /// Their standard inputs: they stop when these close, also if this process is killed.
    leashes: Mutex<Vec<ChildStdin>>,
}

impl Members {
    /// Reads the configurations that are there, or makes them.
    pub(super) fn plan(options: &Dev) -> Result<Self, Failure> {
        let dir = std::path::absolute(&options.dir)?;
        let found = (1..=7).filter(|id| dir.join(format!("member-{id}/node.toml")).exists());
        let found = found.count();
        let alone = dir.join("data").exists();
        let wanted = usize::from(options.members);
        if (alone && wanted > 1) || (found > 0 && found != wanted) {
            let there = if alone { 1 } else { found };
            return Err(Failure::usage(format!(
                "{} holds a fleet of {there}: say --members {there}, or choose another --dir",
                dir.display()
            )));
        }
        if wanted == 1 {
            let mut listen = options.listen;
            if listen.port() == 0 {
                listen = free(listen)?;
            }
            let config = Config {
                listen,
                data: options.dir.join("data"),
                hsm: None,
                certificate: None,
                key: None,
                record: options.record.clone(),
                peers: None,
            };
            let file = None;
            let id = 1;
            return Ok(Self(vec![Planned { id, config, file }]));
        }
        let ports = (1..=options.members).map(|id| ports(options, &dir, id));
        let ports: Vec<_> = ports.collect::<Result<_, Failure>>()?;
        let planned = (1..=options.members).map(|id| planned(options, &dir, id, &ports));
        planned.collect::<Result<_, Failure>>().map(Self)
    }

    pub(super) fn configs(&self) -> Vec<Config> {
        self.0.iter().map(|member| member.config.clone()).collect()
    }

    /// Starts every member: in processes of their own, or the only one in this.
    pub(super) fn start(self, apart: bool) -> Result<Running, Failure> {
        let mut members = Vec::with_capacity(self.0.len());
        let (mut alone, mut children, mut leashes) = (None, Vec::new(), Vec::new());
        for planned in self.0 {
            if !apart {
                let node = Node::open(&planned.config)?;
                let server = format!("https://{}", node.address()?);
                alone = Some(node);
                members.push((planned, None, server));
                continue;
            }
            let mut child = Command::new(std::env::current_exe()?)
                .args(["node", "--with-parent", "--config"])
                .arg(planned.file.as_deref().unwrap_or(Path::new("node.toml")))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            let (id, server) = (planned.id, format!("https://{}", planned.config.listen));
            members.push((planned, child.id(), server));
            leashes.extend(child.stdin.take());
            children.push((id, child));
        }
        Ok(Running {
            members,
            alone: Mutex::new(alone),
            children: Mutex::new(children),
            leashes: Mutex::new(leashes),
        })
    }
}

/// Ports of a member, for clients and for the other hosts: the ones it had, or free ones.
fn ports(options: &Dev, dir: &Path, id: u8) -> Result<(SocketAddr, SocketAddr), Failure> {
    let file = dir.join(format!("member-{id}/node.toml"));
    if file.exists() {
        let config = Config::read(&file)?;
        let peers = config.peers.map(|peers| peers.listen);
        let broken = || Failure::usage(format!("{}: peers are missing", file.display()));
        return Ok((config.listen, peers.ok_or_else(broken)?));
    }
    let mut listen = options.listen;
    match listen.port() {
        0 => listen = free(listen)?,
        port => listen.set_port(port.saturating_add(u16::from(id) - 1)),
    }
    let mut peer = options.listen;
    peer.set_port(0);
    Ok((listen, free(peer)?))
}

/// A port that nobody has: none of those that the system gives to outgoing connections. While a
/// member is down, one of them may take its port, and it could not start again.
fn free(mut address: SocketAddr) -> Result<SocketAddr, Failure> {
    for _ in 0..64 {
        let mut drawn = [0; 2];
        Os.fill(&mut drawn);
        address.set_port(PORTS.start + u16::from_le_bytes(drawn) % (PORTS.end - PORTS.start));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    address.set_port(0);
    Ok(TcpListener::bind(address)?.local_addr()?)
}

/// Below those of outgoing connections, which are 32,768 and up on Linux.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

fn planned(
    options: &Dev,
    dir: &Path,
    id: u8,
    ports: &[(SocketAddr, SocketAddr)],
) -> Result<Planned, Failure> {
    let place = dir.join(format!("member-{id}"));
    let data = place.join("data");
    let own = usize::from(id) - 1;
    let (listen, peer) = ports
        .get(own)
        .copied()
        .ok_or_else(|| Failure::usage("no ports"))?;
    let addresses = ports.iter().zip(1..).filter(|(_, other)| *other != id);
    let addresses = addresses.map(|((_, address), other)| (other.to_string(), address.to_string()));
    let record = options.record.as_ref().map(|path| {
        let mut name = path.clone().into_os_string();
        name.push(format!("-{id}"));
        PathBuf::from(name)
    });
    let config = Config {
        listen,
        data,
        hsm: None,
        certificate: None,
        key: None,
        record,
        peers: Some(PeersConfig {
            listen: peer,
            address: None,
            addresses: addresses.collect(),
        }),
    };
    std::fs::create_dir_all(&place)?;
    let file = place.join("node.toml");
    std::fs::write(&file, config.to_toml())?;
    Ok(Planned {
        id,
        config,
        file: Some(file),
    })
}

impl Running {
    pub(super) fn servers(&self) -> Vec<String> {
        let servers = self.members.iter().map(|(_, _, server)| server.clone());
        servers.collect()
    }

    /// The development authorities of all members, once they have made them.
    pub(super) async fn authorities(&self) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        for (planned, _, _) in &self.members {
            let path = planned.config.tls_dir().join("ca.pem");
            all.extend(read_when_there(&path).await?);
        }
        Ok(all)
    }

    pub(super) fn described(&self) -> serde_json::Value {
        let members = self.members.iter().map(|(planned, pid, server)| {
            json!({"id": planned.id, "pid": pid, "server": server, "config": planned.file})
        });
        members.collect()
    }

    /// A line for each member.
    pub(super) fn lines(&self) -> String {
        let lines = self.members.iter().map(|(planned, pid, server)| {
            let process = pid.map_or_else(String::new, |pid| format!("  process {pid}"));
            let file = planned.file.as_ref();
            let file = file.map_or_else(String::new, |f| format!("  {}", f.display()));
            format!("  server   {server}{process}{file}\n")
        });
        lines.collect()
    }

    /// Runs until it is to stop.
    pub(super) async fn ended(&self, stop: impl Future<Output = ()> + Send) -> Result<(), Failure> {
        if let Some(node) = self.alone.lock().await.take() {
            return Ok(node.run(stop).await?);
        }
        tokio::select! {
            () = stop => {}
            failed = self.watch() => return Err(failed),
        }
        self.leashes.lock().await.clear();
        for (_, child) in self.children.lock().await.iter_mut() {
            if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        Ok(())
    }

    /// Tells of members that end; ends itself with the last one.
    async fn watch(&self) -> Failure {
        loop {
            let mut children = self.children.lock().await;
            if children.is_empty() {
                return Failure::new(Kind::Fault, "every member has ended");
            }
            let waits = children.iter_mut().map(|(_, child)| Box::pin(child.wait()));
            let (status, at, _) = futures::future::select_all(waits).await;
            let (id, _) = children.remove(at);
            drop(children);
            self.tell(id, status.ok());
        }
    }

    fn tell(&self, id: u8, status: Option<ExitStatus>) {
        let member = self.members.iter().find(|(planned, ..)| planned.id == id);
        let file = member.and_then(|(planned, ..)| planned.file.clone());
        let status = status.map_or_else(String::new, |status| format!(" ({status})"));
        tracing::warn!(
            "member {id} ended{status}; the others go on. Start it again with: strongroom node \
             --config {}",
            file.unwrap_or_default().display()
        );
    }
}

/// Longest wait for a member to start or stop.
const PATIENCE: Duration = Duration::from_secs(20);

async fn read_when_there(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = async {
        loop {
            match std::fs::read(path) {
                Ok(bytes) => return bytes,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.map_err(|_| {
        let words = format!(
            "{} did not appear: see the members' words above",
            path.display()
        );
        Failure::new(Kind::Fault, words)
    })
}

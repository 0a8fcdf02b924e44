//! A network of sites, each in a network namespace of its own, whose weather a test makes: packets
//! between any two are dropped in one direction or both, delayed, or lost at random.
//!
//! Each namespace has one TUN device. Its `socat` hands IP packets to this process, which is all
//! that joins them, and the kernel's own TCP meets what it would meet on a bad line. It needs
//! nothing of the kernel but TUN: `netem` and packet filters are often left out. Nothing of it is
//! visible outside: the namespaces have no names, and end with their `socat`, which ends with the
//! test.

use super::fleet::{Fleet, patiently};
use rcgen::{CertificateParams, KeyPair};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_node::Config;
use tempfile::TempDir;

/// What is wrong with the lines.
#[derive(Default)]
struct Weather {
    /// From, to: nothing passes.
    cut: BTreeSet<(u8, u8)>,
    /// Each way.
    delay: Duration,
    /// Of a thousand packets.
    lost: u64,
    seed: u64,
    /// Packets seen and dropped, to show that there was weather.
    packets: u64,
    dropped: u64,
}

/// Sites numbered from 1, and one more for clients.
pub struct Net {
    sites: Vec<Child>,
    weather: Arc<Mutex<Weather>>,
    place: TempDir,
}

/// A packet, and when it arrives.
type Sent = (Instant, Vec<u8>);

impl Net {
    /// None, and the reason printed, where this process may not or the kernel cannot.
    pub fn of(sites: u8) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
            println!("LEFT OUT: network namespaces need root, and their lines /dev/net/tun");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let hub = UnixDatagram::bind(place.path().join("hub")).unwrap();
        let weather = Arc::new(Mutex::new(Weather {
            seed: 0x9E37_79B9_7F4A_7C15,
            ..Weather::default()
        }));
        let mut net = Self {
            sites: Vec::new(),
            weather: weather.clone(),
            place,
        };
        let mut lines = Vec::new();
        for site in 1..=sites + 1 {
            let line = net.plug(site);
            let (sender, packets) = channel();
            lines.push(sender);
            std::thread::spawn(move || deliver(&line, &packets));
        }
        std::thread::spawn(move || carry(&hub, &lines, &weather));
        Some(net)
    }

    /// Makes a namespace with its device, and gives the socket of its `socat`.
    fn plug(&mut self, site: u8) -> UnixDatagram {
        let (hub, own) = (self.path("hub"), self.path(&format!("site-{site}")));
        let device = format!("TUN:10.77.0.{site}/24,iff-up,iff-no-pi,tun-name=wan");
        let socat = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net"])
            .args(["socat", "-b", "65536", &device])
            .arg(format!("UNIX-SENDTO:{hub},bind={own}"))
            .stdin(Stdio::null())
            .spawn();
        self.sites.push(socat.unwrap());
        let line = UnixDatagram::unbound().unwrap();
        patiently("socat (of the package socat) has its device", || {
            line.connect(&own).ok()
        });
        line
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).display().to_string()
    }

    fn namespace(&self, site: u8) -> String {
        let socat = &self.sites[usize::from(site) - 1];
        format!("/proc/{}/ns/net", socat.id())
    }

    /// Moves this thread, and all threads and processes that it starts from now on, to the clients'
    /// site.
    pub fn enter(&self) {
        let site = u8::try_from(self.sites.len()).unwrap();
        let namespace = std::fs::File::open(self.namespace(site)).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).unwrap();
    }

    /// Moves a founded fleet's members to their sites, as an operator would: addresses and
    /// certificates are set anew, keys and data stay.
    pub fn house(&self, fleet: &mut Fleet) {
        let members = u8::try_from(fleet.members.len()).unwrap();
        let names: Vec<String> = (1..=members).map(|n| format!("10.77.0.{n}")).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        let at = |name: &str| fleet.place.path().join(name);
        std::fs::write(at("chain.pem"), &certificate).unwrap();
        std::fs::write(at("key.pem"), key.serialize_pem()).unwrap();
        for (site, member) in (1..).zip(&fleet.members) {
            let mut config = Config::read(&member.config).unwrap();
            config.listen = format!("10.77.0.{site}:7311").parse().unwrap();
            config.certificate = Some(at("chain.pem"));
            config.key = Some(at("key.pem"));
            let peers = config.peers.as_mut().unwrap();
            peers.listen = format!("10.77.0.{site}:7411").parse().unwrap();
            for (id, address) in &mut peers.addresses {
                *address = format!("10.77.0.{id}:7411");
            }
            std::fs::write(&member.config, config.to_toml()).unwrap();
        }
        let file = fleet.profile().join("profile.json");
        let profile = std::fs::read(&file).unwrap();
        let mut profile: serde_json::Value = serde_json::from_slice(&profile).unwrap();
        let servers = (1..=members).map(|n| format!("https://10.77.0.{n}:7311").into());
        let mut servers: Vec<serde_json::Value> = servers.collect();
        profile["server"] = servers.remove(0);
        profile["other_servers"] = servers.into();
        profile["authority"] = at("chain.pem").display().to_string().into();
        std::fs::write(file, serde_json::to_vec(&profile).unwrap()).unwrap();
        for (site, member) in (1..).zip(&mut fleet.members) {
            let namespace = format!("--net={}", self.namespace(site));
            let before = ["nsenter".to_owned(), namespace];
            member.program.splice(0..0, before);
        }
    }

    /// Drops what that site sends to those.
    pub fn cut(&self, from: u8, to: impl IntoIterator<Item = u8>) {
        let mut weather = self.weather.lock().unwrap();
        weather.cut.extend(to.into_iter().map(|to| (from, to)));
    }

    /// Drops what these sites and all other sites say to each other. Clients reach them all.
    pub fn part(&self, some: &[u8]) {
        let sites = u8::try_from(self.sites.len()).unwrap();
        for other in (1..sites).filter(|site| !some.contains(site)) {
            for one in some {
                self.cut(*one, [other]);
                self.cut(other, [*one]);
            }
        }
    }

    /// Every line works again.
    pub fn heal(&self) {
        self.weather.lock().unwrap().cut.clear();
    }

    /// From now on each packet takes so long, and so many of a thousand are lost.
    pub fn set(&self, delay: Duration, lost: u64) {
        let mut weather = self.weather.lock().unwrap();
        (weather.delay, weather.lost) = (delay, lost);
    }

    /// Packets that were seen, and that were dropped, since this was asked last.
    pub fn packets(&self) -> (u64, u64) {
        let mut weather = self.weather.lock().unwrap();
        let seen = (weather.packets, weather.dropped);
        (weather.packets, weather.dropped) = (0, 0);
        seen
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for socat in &mut self.sites {
            let _ = socat.kill();
            let _ = socat.wait();
        }
    }
}

impl Weather {
    /// When that packet arrives, if it does.
    fn passes(&mut self, from: u8, to: u8) -> Option<Instant> {
        self.packets += 1;
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let lost = (self.seed >> 11) % 1000 < self.lost;
        if lost || self.cut.contains(&(from, to)) {
            self.dropped += 1;
            return None;
        }
        Some(Instant::now() + self.delay)
    }
}

/// Takes every packet, and gives it to its line. Ends when the hub's file is gone with the test.
fn carry(hub: &UnixDatagram, lines: &[Sender<Sent>], weather: &Mutex<Weather>) {
    let mut packet = vec![0; 65536];
    while let Ok(length) = hub.recv(&mut packet) {
        let packet = &packet[..length];
        // IPv4 only: the sites' last byte of each address.
        let (Some(0x40..=0x4F), Some(&from), Some(&to)) =
            (packet.first(), packet.get(15), packet.get(19))
        else {
            continue;
        };
        let Some(line) = usize::from(to).checked_sub(1).and_then(|at| lines.get(at)) else {
            continue;
        };
        if let Some(due) = weather.lock().unwrap().passes(from, to) {
            let _ = line.send((due, packet.to_vec()));
        }
    }
}

/// Hands packets over in the order in which they came, each when it is due.
fn deliver(line: &UnixDatagram, packets: &Receiver<Sent>) {
    while let Ok((due, packet)) = packets.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if line.send(&packet).is_err() {
            return;
        }
    }
}

//! Three members on one machine, each a node with its HSM: any of them serves, any one may be away,
//! and whoever comes back catches up.

use crate::common::{SLOT, Server, until};
use crate::issuer::{Issuer, User};
use reqwest::Method;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_client::Error;
use strongroom_node::store::Store;
use strongroom_node::{Limits, Node, PeersConfig, metrics, reseed};
use strongroom_tree::prover::Trie;
use strongroom_wire::answer::leaf_digest;
use strongroom_wire::entry::Tip;
use strongroom_wire::{Digest, Epoch, LogIndex};

/// A request may wait for an election, on a machine that is busy with other tests.
fn patient() -> Limits {
    Limits {
        request: Duration::from_secs(50),
        ..Limits::default()
    }
}

struct Fleet {
    members: Vec<Server>,
    limits: Limits,
}

/// Ways of that many members to each other, on ports that were free a moment ago.
fn ways(count: usize) -> Vec<Option<PeersConfig>> {
    let taken: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses: BTreeMap<String, String> = (1..)
        .zip(&taken)
        .map(|(id, taken): (u32, _)| (id.to_string(), taken.local_addr().unwrap().to_string()))
        .collect();
    let ways = taken.iter().map(|taken| {
        Some(PeersConfig {
            listen: taken.local_addr().unwrap(),
            address: None,
            addresses: addresses.clone(),
        })
    });
    ways.collect()
}

impl Fleet {
    /// Three members at work, with one tenant that was created at a follower.
    async fn start(limits: Limits) -> Self {
        let members = Server::found_members(ways(3)).await;
        let mut fleet = Self { members, limits };
        for member in 0..3 {
            fleet.run(member).await;
        }
        let follower = fleet.follower().await;
        let tenant = fleet.members[follower].issuer.tenant(10_000, 10_000);
        fleet.members[follower].create(tenant).await;
        fleet.agrees().await;
        fleet
    }

    async fn run(&mut self, member: usize) {
        self.members[member].run(self.limits).await;
    }

    async fn stop(&mut self, member: usize) {
        self.members[member].stop().await;
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.members.iter().filter(|member| member.is_running())
    }

    /// Whom all that run hold to be the leader, once they do.
    async fn leader(&self) -> usize {
        until("all know one leader", || async {
            let mut known = Vec::new();
            for member in self.running() {
                known.push(member.status().await["leader"].as_u64()?);
            }
            known.dedup();
            let [id] = known[..] else { return None };
            let leader = usize::try_from(id).unwrap() - 1;
            self.members[leader].is_running().then_some(leader)
        })
        .await
    }

    async fn follower(&self) -> usize {
        self.followers().await[0]
    }

    /// Those that run and do not lead.
    async fn followers(&self) -> Vec<usize> {
        let leader = self.leader().await;
        let others = (0..3).filter(|member| *member != leader);
        others
            .filter(|member| self.members[*member].is_running())
            .collect()
    }

    /// Waits until all that run stand at the same entry, HSMs and stores; gives its index.
    async fn agrees(&self) -> u64 {
        until("all stand at one entry", || async {
            let mut places = Vec::new();
            for member in self.running() {
                let status = member.status().await;
                let (standing, applied) = (&status["standing"], &status["applied"]);
                let index = standing["index"].as_u64()?;
                if applied["index"] != index {
                    return None;
                }
                let hash = standing["hash"].as_str()?.to_owned();
                places.push((index, hash, applied["root"].as_str()?.to_owned()));
            }
            places.dedup();
            (places.len() == 1).then(|| places[0].0)
        })
        .await
    }

    /// Commits that many entries at least.
    async fn commit(&self, member: usize, entries: u64) {
        let server = &self.members[member];
        let (user, fleet) = (server.user("somebody"), server.bundle().await);
        let enough = self.agrees().await + entries;
        while server.standing("index").await < enough {
            server.ask(&user, &server.status_of(&fleet, &user)).await;
        }
    }

    async fn register(&self, member: usize, subject: &str) -> User {
        let server = &self.members[member];
        let user = server.user(subject);
        let vault = server.vault(&user).await;
        let made = vault.register(b"the code", subject.as_bytes(), SLOT, None);
        made.await.unwrap();
        user
    }

    async fn recovers(&self, member: usize, user: &User) {
        let vault = self.members[member].vault(user).await;
        let back = vault.recover(b"the code", SLOT).await.unwrap();
        assert_eq!(*back.keys.payload, *user.subject.as_bytes());
    }

    /// How often something happened, all members of this process together.
    async fn events(&self, event: &str) -> u64 {
        let metrics = self.running().next().unwrap().get("/metrics").await;
        let series = format!("{}{{event=\"{event}\"}} ", metrics::REPLICA_EVENTS);
        let found = metrics
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(&series));
        found.map_or(0, |count| count.parse().unwrap())
    }

    /// Where the HSMs of all that run stand, once it is one place.
    async fn place(&self) -> Tip {
        self.agrees().await;
        let standing = self.running().next().unwrap().status().await["standing"].clone();
        let hash = hex::decode(standing["hash"].as_str().unwrap()).unwrap();
        Tip {
            epoch: Epoch(standing["epoch"].as_u64().unwrap()),
            index: LogIndex(standing["index"].as_u64().unwrap()),
            hash: Digest(hash.try_into().unwrap()),
        }
    }

    /// Stops all. Each store must be whole, and come to the same root.
    async fn stores_agree(mut self) {
        let place = self.place().await;
        // All at once: a new leader would seal an entry more.
        let stopping = self.members.drain(..).map(|mut member| {
            tokio::spawn(async move {
                if member.is_running() {
                    member.stop().await;
                }
                member
            })
        });
        let stopping: Vec<_> = stopping.collect();
        let mut roots = Vec::new();
        for stopping in stopping {
            let member = stopping.await.unwrap();
            let store = opened(&member.config.store_dir()).await;
            let header = store.standing().unwrap().unwrap().header;
            let mut trie = Trie::open(store.clone(), 64)
                .map_err(|_| "damaged")
                .unwrap();
            assert_eq!(trie.root(), header.root.0, "at {}", header.index);
            // What was applied last is kept with the next entry; until then the log has it.
            let rest = if header.index < place.index {
                store.chain(&header.tip(), &place).unwrap()
            } else {
                // It may have been a moment later all the same; that entry writes nothing.
                let more = store.chain(&place, &header.tip()).unwrap();
                more.map(|_| Vec::new())
            };
            let rest = rest.unwrap_or_else(|| panic!("{} is elsewhere", header.index));
            for logged in rest {
                let writes = logged.entry.writes.iter();
                let leaf = |leaf: &[u8]| Some(leaf_digest(leaf).0);
                let changes: Vec<_> = writes.map(|w| (w.key.0, leaf(&w.leaf))).collect();
                trie.apply(&changes).map_err(|_| "damaged").unwrap();
                assert_eq!(trie.root(), logged.header().root.0);
            }
            roots.push(trie.root());
        }
        assert!(roots.windows(2).all(|two| two[0] == two[1]));
    }
}

/// The store of a stopped member.
async fn opened(dir: &Path) -> Store {
    until("the store is let go of", || async { Store::open(dir).ok() }).await
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &place);
        } else {
            std::fs::copy(&path, &place).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_at_one_member_is_done_for_all() {
    let fleet = Fleet::start(patient()).await;
    let leader = fleet.leader().await;
    let followers = fleet.followers().await;
    let user = fleet.register(followers[0], "alice").await;
    for member in [followers[1], leader, followers[0]] {
        fleet.recovers(member, &user).await;
    }
    // One count of guesses, wherever they are made.
    let mut left = 10;
    for member in [leader, followers[1], followers[0]] {
        let vault = fleet.members[member].vault(&user).await;
        let wrong = vault
            .recover(b"another code", SLOT)
            .await
            .map(|_| ())
            .unwrap_err();
        left -= 1;
        let counted =
            matches!(wrong, Error::WrongCode { attempts_left, .. } if attempts_left == left);
        assert!(counted, "{wrong}");
    }
    // Tenants too: created at any, admitted at any, refused in the same words.
    let other = Arc::new(Issuer::es256("other.example"));
    fleet.members[followers[1]]
        .create(other.tenant(10_000, 10_000))
        .await;
    let again = crate::issuer::create(fleet.members[0].fleet, other.tenant(1, 1));
    for member in &fleet.members {
        let got = member.post("/v1/tenants", None, again.clone()).await;
        assert_eq!((got.status, got.problem().as_str()), (409, "tenant"));
    }
    fleet.agrees().await;
    for member in &fleet.members {
        let user = member.user_of(&other, "bob");
        let bundle = member.bundle().await;
        member.ask(&user, &member.status_of(&bundle, &user)).await;
    }
    for (id, member) in (1_u64..).zip(&fleet.members) {
        let status = member.status().await;
        assert_eq!(status["member"], id);
        assert_eq!(status["quorum"], 2);
        let members = status["members"].as_array().unwrap();
        assert!(members.iter().all(|m| m["reached"] == true), "{status}");
        assert_eq!(members.len(), 3);
    }
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_one_member_may_be_away_and_catches_up_when_it_is_back() {
    let mut fleet = Fleet::start(patient()).await;
    let first = fleet.register(0, "alice").await;
    for turn in 0..2 {
        let leader = fleet.leader().await;
        let away = if turn == 0 {
            fleet.follower().await
        } else {
            leader
        };
        fleet.stop(away).await;
        let here = fleet.follower().await;
        assert_ne!(fleet.leader().await, away);
        fleet.recovers(here, &first).await;
        let late = fleet.register(here, &format!("late {turn}")).await;
        let left: Vec<usize> = (0..3).filter(|member| *member != away).collect();
        for member in left {
            fleet.recovers(member, &late).await;
        }
        let index = fleet.agrees().await;
        fleet.run(away).await;
        fleet.members[away].ready().await;
        assert!(fleet.agrees().await >= index);
        fleet.recovers(away, &late).await;
        fleet.recovers(away, &first).await;
    }
    assert_eq!(fleet.events("behind").await, 0, "logs reached them");
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_when_the_leader_falls_are_answered_by_the_next_one() {
    let fleet = Arc::new(Fleet::start(patient()).await);
    let follower = fleet.follower().await;
    let bundle = Arc::new(fleet.members[follower].bundle().await);
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (fleet, bundle) = (fleet.clone(), bundle.clone());
            tokio::spawn(async move {
                let server = &fleet.members[follower];
                let user = server.user(&format!("account {n}"));
                for _ in 0..40 {
                    // Opens only if it is the answer to this very request.
                    server.ask(&user, &server.status_of(&bundle, &user)).await;
                }
            })
        })
        .collect();
    for _ in 0..2 {
        let leader = fleet.leader().await;
        let server = &fleet.members[leader];
        let first = server.hsm_pid().unwrap();
        server.signal(Signal::KILL);
        until("another HSM process", || async {
            server.hsm_pid().filter(|pid| *pid != first)
        })
        .await;
        server.ready().await;
    }
    for client in clients {
        client.await.unwrap();
    }
    fleet.agrees().await;
    let fleet = Arc::into_inner(fleet).unwrap();
    for server in &fleet.members {
        until("nothing is open", || async {
            (server.standing("open").await == 0).then_some(())
        })
        .await;
    }
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_hsm_hangs_is_left_alone_and_follows_when_it_is_back() {
    let fleet = Fleet::start(patient()).await;
    let user = fleet.register(0, "alice").await;
    fleet.agrees().await;
    let (leader, followers) = (fleet.leader().await, fleet.followers().await);
    fleet.members[leader].freeze_hsm().await;
    for member in &followers {
        fleet.recovers(*member, &user).await;
    }
    let late = fleet.register(followers[0], "late").await;
    fleet.members[leader].signal(Signal::CONT);
    fleet.agrees().await;
    assert_ne!(fleet.leader().await, leader);
    fleet.recovers(leader, &user).await;
    fleet.recovers(leader, &late).await;
    fleet.stores_agree().await;
}

/// Logs that are soon too short.
fn forgetful() -> Limits {
    Limits {
        log_kept: 3,
        ..patient()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_away_for_longer_than_logs_go_back_copies_the_store() {
    let mut fleet = Fleet::start(forgetful()).await;
    let user = fleet.register(0, "alice").await;
    fleet.agrees().await;
    let away = fleet.follower().await;
    fleet.stop(away).await;
    let here = fleet.follower().await;
    fleet.commit(here, 12).await;
    let late = fleet.register(here, "late").await;
    let other = Arc::new(Issuer::es256("other.example"));
    fleet.members[here]
        .create(other.tenant(10_000, 10_000))
        .await;
    fleet.run(away).await;
    until("it found itself behind", || async {
        (fleet.events("behind").await > 0).then_some(())
    })
    .await;
    fleet.agrees().await;
    // It is worth as much as any: without it there is no quorum now.
    fleet.stop(here).await;
    let leader = fleet.leader().await;
    for member in [away, leader] {
        fleet.recovers(member, &user).await;
        fleet.recovers(member, &late).await;
    }
    let stranger = fleet.members[away].user_of(&other, "bob");
    let bundle = fleet.members[away].bundle().await;
    let asked = fleet.members[away].status_of(&bundle, &stranger);
    fleet.members[away].ask(&stranger, &asked).await;
    fleet.run(here).await;
    fleet.agrees().await;
    let dir = fleet.members[away].config.store_dir();
    for left in ["copy", "old"] {
        assert!(!dir.with_extension(left).exists(), "{left} is left");
    }
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_store_was_exchanged_for_an_old_copy_comes_back_by_itself() {
    let mut fleet = Fleet::start(patient()).await;
    let member = fleet.follower().await;
    let dir = fleet.members[member].config.store_dir();
    let old = fleet.members[member].place.path().join("old store");
    fleet.stop(member).await;
    drop(opened(&dir).await);
    copy_dir(&dir, &old);
    fleet.run(member).await;
    fleet.members[member].ready().await;
    fleet.agrees().await;
    fleet.commit(member, 5).await;
    let user = fleet.register(member, "alice").await;
    fleet.agrees().await;
    fleet.stop(member).await;
    drop(opened(&dir).await);
    std::fs::remove_dir_all(&dir).unwrap();
    copy_dir(&old, &dir);
    fleet.run(member).await;
    fleet.agrees().await;
    let others = fleet.followers().await;
    let away = others.into_iter().find(|other| *other != member);
    let away = away.unwrap_or(fleet.leader().await);
    fleet.stop(away).await;
    fleet.leader().await;
    fleet.recovers(member, &user).await;
    fleet.run(away).await;
    fleet.agrees().await;
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_store_is_given_another_and_one_that_has_it_is_not() {
    let mut fleet = Fleet::start(patient()).await;
    let user = fleet.register(0, "alice").await;
    fleet.agrees().await;
    let lost = fleet.follower().await;
    fleet.stop(lost).await;
    let here = fleet.follower().await;
    let bundle = fleet.members[here].get("/v1/fleet").await.body;
    let (config, dir) = (
        fleet.members[lost].config.clone(),
        fleet.members[lost].config.store_dir(),
    );
    drop(opened(&dir).await);
    let error = reseed(&config, &bundle).await.unwrap_err().to_string();
    assert!(error.contains("holds a store"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
    let error = Node::open(&config).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no fleet"), "{error}");
    let error = reseed(&config, b"junk").await.unwrap_err().to_string();
    assert!(error.contains("bundle"), "{error}");
    reseed(&config, &bundle).await.unwrap();
    fleet.run(lost).await;
    fleet.agrees().await;
    fleet.stop(here).await;
    fleet.leader().await;
    fleet.recovers(lost, &user).await;
    fleet.run(here).await;
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_all_is_busy_and_nothing_is_lost() {
    let mut fleet = Fleet::start(Limits {
        request: Duration::from_secs(2),
        ..patient()
    })
    .await;
    let user = fleet.register(0, "alice").await;
    fleet.agrees().await;
    let (leader, followers) = (fleet.leader().await, fleet.followers().await);
    let last = followers[0];
    fleet.stop(followers[1]).await;
    fleet.stop(leader).await;
    let server = &fleet.members[last];
    let bundle = server.bundle().await;
    let asked = crate::common::guess(b"the code");
    let outgoing = asked.request(&bundle, &user.now()).unwrap();
    let tenant = Issuer::es256("new.example").tenant(10_000, 10_000);
    let change = crate::issuer::create(server.fleet, tenant);
    let token = user.now().admission;
    for _ in 0..2 {
        for (path, body) in [("/v1/vault", &outgoing.envelope), ("/v1/tenants", &change)] {
            let got = server.request(Method::POST, path, Some(&token), body.clone());
            let got = got.await.unwrap();
            assert_eq!((got.status, got.problem().as_str()), (503, "busy"));
        }
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    until("it leads no more", || async {
        server.status().await["leader"].is_null().then_some(())
    })
    .await;
    let status = server.status().await;
    let reached = status["members"].as_array().unwrap().iter();
    assert_eq!(
        reached.filter(|m| m["reached"] == true).count(),
        1,
        "{status}"
    );
    // One comes back: the same requests are carried out, once.
    fleet.run(leader).await;
    let server = &fleet.members[last];
    let answer = until("answered", || async {
        let got = server.post("/v1/vault", Some(&token), outgoing.envelope.clone());
        let got = got.await;
        (got.status == 200).then(|| outgoing.open(&got.body).unwrap())
    })
    .await;
    let strongroom_wire::answer::Answer::RecoverStarted(started) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((started.attempts_left, started.totals.starts), (9, 1));
    until("the tenant is there", || async {
        let got = server.post("/v1/tenants", None, change.clone()).await;
        matches!(got.status, 204 | 409).then_some(())
    })
    .await;
    fleet.run(followers[1]).await;
    fleet.agrees().await;
    fleet.stores_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_know_where_the_others_are_says_whose_address_is_missing() {
    let members = Server::found_members(ways(3)).await;
    let mut config = members[1].config.clone();
    config.peers.as_mut().unwrap().addresses.remove("3");
    let error = Node::open(&config).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no address for member 3"), "{error}");
    config.peers = None;
    let error = Node::open(&config).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("[peers]") && error.contains("node.toml"),
        "{error}"
    );
}

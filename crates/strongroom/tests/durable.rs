//! Killed at any moment, out of disk, under load: nothing acknowledged is lost, no guess is spent
//! twice, and nothing needs help afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Dev;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strongroom_client::issuer::{Account, Issuer};
use strongroom_client::transport::Http;
use strongroom_client::wire::{FleetId, Slot};
use strongroom_client::{Error, Ksf, MemoryJournal, Roots, Vault};

const SLOT: Slot = Slot(0);

/// How to reach a running vault as any account of its tenant.
struct Door {
    http: Http,
    fleet: FleetId,
    issuer: Issuer,
}

impl Door {
    fn of(dev: &Dev) -> Self {
        let text = std::fs::read(dev.path("vault/phone/profile.json")).unwrap();
        let profile: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let authority = std::fs::read(profile["authority"].as_str().unwrap()).unwrap();
        let bytes = |text: &serde_json::Value| -> [u8; 32] {
            hex::decode(text.as_str().unwrap())
                .unwrap()
                .try_into()
                .unwrap()
        };
        let tokens = &profile["tokens"]["development"];
        Self {
            http: Http::new(profile["server"].as_str().unwrap(), Some(&authority)).unwrap(),
            fleet: FleetId(bytes(&profile["fleet"])),
            issuer: Issuer::new(tokens["issuer"].as_str().unwrap(), &bytes(&tokens["seed"])),
        }
    }

    async fn account(&self, name: &str) -> Vault<Account> {
        loop {
            let roots = Roots::development(self.fleet);
            let account = Account::new(self.issuer.clone(), self.fleet, name);
            let journal = Arc::new(MemoryJournal::default());
            match Vault::connect(self.http.clone(), &roots, account, journal).await {
                Ok(vault) => return vault.with_ksf(Ksf::Argon2idM19T2),
                Err(Error::Transport(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Tries until the network lets it through, as a person presses "again".
async fn through<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(Error::Transport(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Changes its code and recovers with it, again and again: what was acknowledged last must open.
async fn live(door: Arc<Door>, name: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let vault = door.account(&name).await;
    let first = through(|| vault.register(b"code 0", b"", SLOT, None)).await;
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let code = format!("code {round}");
        through(|| vault.change_code(code.as_bytes(), &first.keys, SLOT)).await;
        let recovered = through(|| vault.recover(code.as_bytes(), SLOT)).await;
        assert_eq!(
            *recovered.keys.age_secret(),
            *first.keys.age_secret(),
            "{name}: {code}"
        );
        done.fetch_add(1, Ordering::Relaxed);
    }
    let report = through(|| vault.status(SLOT, Some(&first.keys))).await;
    assert_eq!(
        report.attempts_left, 10,
        "{name}: every guess was proved right"
    );
    // A guess is counted once for each attempt id, however often its answer was lost.
    let totals = report.totals;
    assert_eq!(
        (u64::from(totals.starts), totals.unproved),
        (round, 0),
        "{name}"
    );
}

fn kills() -> u64 {
    let set = std::env::var("STRONGROOM_KILLS").ok();
    set.map_or(200, |text| text.parse().unwrap())
}

#[test]
fn killed_hundreds_of_times_under_load_it_loses_nothing_acknowledged() {
    let mut dev = Dev::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let door = Arc::new(Door::of(&dev));
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let name = format!("account {n}");
            runtime.spawn(live(door.clone(), name, stop.clone(), done.clone()))
        })
        .collect();
    let mut seen = 0;
    for kill in 0..kills() {
        // Not a fixed pace: somewhere within the next operations, by count.
        let target = seen + kill % 3;
        let mut pause = 1;
        while done.load(Ordering::Relaxed) < target && !clients.iter().any(|c| c.is_finished()) {
            std::thread::sleep(Duration::from_millis(pause));
            pause = pause % 17 + 1;
        }
        seen = done.load(Ordering::Relaxed);
        if kill % 2 == 0 {
            dev.kill_hsm();
        } else {
            dev.kill();
            dev.again(&[]);
        }
        assert!(!clients.iter().any(|c| c.is_finished()), "a client gave up");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        runtime.block_on(client).unwrap();
    }
    println!("{} kills, {} rounds", kills(), done.load(Ordering::Relaxed));
}

//! Clients under whom a vault is killed, and what they insist on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strongroom_client::issuer::{Account, Issuer};
use strongroom_client::transport::Http;
use strongroom_client::wire::{FleetId, Slot};
use strongroom_client::{BackupKeys, Error, Fleet, Ksf, MemoryJournal, Outcome, Roots, Vault};

const SLOT: Slot = Slot(0);

/// How to reach a running vault as any account of its tenant.
pub struct Door {
    http: Http,
    fleet: FleetId,
    issuer: Issuer,
}

impl Door {
    /// From the profile that `dev` made.
    pub fn of(profile: &Path) -> Self {
        Self::among(profile, |servers| servers)
    }

    /// To one of the profile's servers alone.
    pub fn to(profile: &Path, at: usize) -> Self {
        Self::among(profile, |servers| vec![servers[at].clone()])
    }

    fn among(profile: &Path, chosen: impl Fn(Vec<String>) -> Vec<String>) -> Self {
        let text = std::fs::read(profile.join("profile.json")).unwrap();
        let profile: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let authority = std::fs::read(profile["authority"].as_str().unwrap()).unwrap();
        let bytes = |text: &serde_json::Value| -> [u8; 32] {
            hex::decode(text.as_str().unwrap())
                .unwrap()
                .try_into()
                .unwrap()
        };
        let tokens = &profile["tokens"]["development"];
        let others = profile["other_servers"].as_array().into_iter().flatten();
        let servers = std::iter::once(&profile["server"]).chain(others);
        let servers: Vec<String> = servers
            .map(|server| server.as_str().unwrap().to_owned())
            .collect();
        Self {
            http: Http::to_any(&chosen(servers), Some(&authority)).unwrap(),
            fleet: FleetId(bytes(&profile["fleet"])),
            issuer: Issuer::new(tokens["issuer"].as_str().unwrap(), &bytes(&tokens["seed"])),
        }
    }

    /// Its connection.
    pub fn http(&self) -> Http {
        self.http.clone()
    }

    /// The fleet, once it is reached, and an account on a device of its own.
    pub async fn seat(&self, account: &str) -> (Fleet, Account) {
        let account = Account::new(self.issuer.clone(), self.fleet, account);
        loop {
            if let Ok(bundle) = self.http.get("/v1/fleet").await {
                let roots = Roots::development(self.fleet);
                return (Fleet::from_bundle(&bundle, &roots).unwrap(), account);
            }
        }
    }

    /// The fleet's bundle, as every member serves it.
    pub async fn bundle(&self) -> Vec<u8> {
        self.http.get("/v1/fleet").await.unwrap()
    }

    /// Connects as that account.
    pub async fn account(&self, name: &str) -> Vault<Account> {
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
pub async fn through<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(Error::Transport(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Changes its code and recovers with it, again and again: what was acknowledged last must open.
pub async fn live(door: Arc<Door>, name: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
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

/// New accounts, one after the other, each of which registers, and opens what it registered.
pub async fn newcomers(door: Door, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let name = format!("newcomer {}", done.load(Ordering::Relaxed));
        let vault = door.account(&name).await;
        let keys = first_time(&vault).await;
        let recovered = through(|| vault.recover(b"a first code", SLOT)).await;
        assert_eq!(*recovered.keys.age_secret(), *keys.age_secret(), "{name}");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Registers. Where the answer was lost for good, the next call says whether it counts.
async fn first_time(vault: &Vault<Account>) -> BackupKeys {
    loop {
        match vault.register(b"a first code", b"", SLOT, None).await {
            Ok(registered) => return registered.keys,
            Err(Error::Transport(_)) => through(|| vault.finish_pending()).await,
            Err(error) => panic!("refused: {error}"),
        }
        let settled = vault.take_settled();
        if settled
            .iter()
            .any(|one| matches!(one.outcome, Outcome::Registered(_)))
        {
            return vault.device(SLOT).keys().unwrap().unwrap();
        }
    }
}

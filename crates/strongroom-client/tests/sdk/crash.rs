//! Crash windows: what must be on the device before something is sent, and what the next start of
//! the app makes of it (REVIEW H1, C12c).

use super::fleet::{CODE, World};
use super::hsm::record_id;
use super::server::{Step, refuse, status};
use std::io;
use std::sync::Arc;
use strongroom_client::wire::answer::Refusal;
use strongroom_client::wire::request::Finish;
use strongroom_client::wire::{PublicKey, Slot};
use strongroom_client::{BackupKeys, Error, Journal, MemoryJournal, Outcome, Rehearsal, Settled};
use strongroom_crypto::wrap::Root;

fn owner_key(world: &World, keys: &BackupKeys) -> PublicKey {
    let bytes = keys.to_device_bytes();
    let root = Root::from_bytes(*bytes.first_chunk::<32>().unwrap());
    let fleet = world.shared.hsm.fleet();
    PublicKey(root.owner_key(&fleet.0, &record_id(Slot(0)).0).public())
}

/// The keys that the device holds open the record that the fleet holds.
pub async fn device_and_fleet_agree(world: &World) {
    let held = world.vault().await.device(Slot(0)).keys().unwrap().unwrap();
    let fleet = world.shared.hsm.owner_key(Slot(0)).unwrap();
    assert_eq!(owner_key(world, &held), fleet);
}

#[tokio::test]
async fn keys_and_finish_are_on_the_device_before_the_registration_is_sent() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    let journals: Vec<Vec<&str>> = {
        let requests = world.requests();
        requests.iter().map(|r| r.journal.clone()).collect()
    };
    assert!(journals[0].is_empty());
    assert_eq!(journals[1], ["pending-register-0-0"]);
    assert!(world.holds("keys-0") && !world.holds("pending-register-0-0"));
    assert_eq!(
        vault.device(Slot(0)).rehearse(CODE).unwrap(),
        Rehearsal::Right
    );
    device_and_fleet_agree(&world).await;
}

#[tokio::test]
async fn keys_and_finish_are_on_the_device_before_a_recovery_is_finished() {
    let world = World::new().await;
    world
        .vault()
        .await
        .register(CODE, b"", Slot(0), None)
        .await
        .unwrap();
    world.shared.journal.remove("keys-0").unwrap();
    world.forget_requests();
    world.vault().await.recover(CODE, Slot(0)).await.unwrap();
    let journals: Vec<_> = world.requests().iter().map(|r| r.journal.clone()).collect();
    assert_eq!(journals, [vec![], vec!["pending-recover-0", "keys-0"]]);
}

#[tokio::test]
async fn a_registration_that_died_before_its_answer_is_finished_by_the_next_start() {
    let world = World::new().await;
    // Carried out, answer lost, and then the app dies.
    world.script([Step::Answer, Step::Drop, status(500)]);
    let vault = world.vault().await;
    assert!(vault.register(CODE, b"", Slot(0), None).await.is_err());
    assert!(vault.device(Slot(0)).keys().unwrap().is_none());
    drop(vault);
    let vault = world.vault().await;
    vault.finish_pending().await.unwrap();
    let sent = world.finishes_sent();
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter().all(|finish| *finish == sent[0]),
        "one op id, one body"
    );
    device_and_fleet_agree(&world).await;
    assert_eq!(
        vault.device(Slot(0)).rehearse(CODE).unwrap(),
        Rehearsal::Right
    );
    assert!(!world.holds("pending-register-0-0"));
    let settled = vault.take_settled();
    assert!(matches!(settled[0].outcome, Outcome::Registered(_)));
    assert_eq!((settled.len(), settled[0].slot), (1, Slot(0)));
    assert!(vault.take_settled().is_empty());
}

#[tokio::test]
async fn a_registration_that_never_arrived_is_made_by_the_next_call() {
    let world = World::new().await;
    world.script([Step::Answer, status(500)]);
    let vault = world.vault().await;
    assert!(vault.register(CODE, b"", Slot(0), None).await.is_err());
    assert_eq!(world.shared.hsm.owner_key(Slot(0)), None);
    world.vault().await.status(Slot(0), None).await.unwrap();
    device_and_fleet_agree(&world).await;
}

#[tokio::test]
async fn a_registration_that_was_refused_leaves_the_device_as_it_was() {
    let world = World::new().await;
    let vault = world.vault().await;
    let old = vault.register(CODE, b"", Slot(0), None).await.unwrap();
    // A live record, and no keys to show.
    let refused = vault
        .register(b"another code", b"", Slot(0), None)
        .await
        .err();
    assert!(matches!(
        refused,
        Some(Error::Refused(Refusal::OwnerProofNeeded))
    ));
    let held = vault.device(Slot(0)).keys().unwrap().unwrap();
    assert_eq!(*held.age_secret(), *old.keys.age_secret());
    assert!(!world.holds("pending-register-0-0"));
    device_and_fleet_agree(&world).await;
}

#[tokio::test]
async fn a_busy_fleet_takes_no_registration_from_the_device() {
    let world = World::new().await;
    let busy = refuse(Refusal::Busy { retry_after_ms: 9 });
    // Carried out, answer lost, then busy: had the keys been dropped, nobody would hold them.
    world.script([Step::Answer, Step::Drop, busy]);
    let vault = world.vault().await;
    let refused = vault.register(CODE, b"", Slot(0), None).await.err();
    assert!(matches!(
        refused,
        Some(Error::Refused(Refusal::Busy { .. }))
    ));
    assert!(world.holds("pending-register-0-0"));
    vault.finish_pending().await.unwrap();
    device_and_fleet_agree(&world).await;
}

#[tokio::test]
async fn a_recovery_whose_finish_was_lost_has_the_keys_and_finishes_later() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault.register(CODE, b"", Slot(0), None).await.unwrap();
    world.forget_requests();
    world.script([Step::Answer, status(500)]);
    let recovered = vault.recover(CODE, Slot(0)).await.unwrap();
    assert!(recovered.receipt.is_none());
    assert_eq!(*recovered.keys.age_secret(), *made.keys.age_secret());
    assert!(world.holds("pending-recover-0"));
    drop(vault);
    // Before anything else, and so before another guess.
    world.vault().await.recover(CODE, Slot(0)).await.unwrap();
    let finishes = world.finishes_sent();
    assert_eq!(finishes.len(), 3);
    assert_eq!(finishes[0], finishes[1]);
    assert_ne!(finishes[1], finishes[2]);
    assert!(!world.holds("pending-recover-0"));
}

#[tokio::test]
async fn the_faster_phone_does_not_take_the_keys_from_the_slower_one() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault.register(CODE, b"", Slot(0), None).await.unwrap();
    world.script([Step::Answer, refuse(Refusal::Superseded)]);
    let recovered = vault.recover(CODE, Slot(0)).await.unwrap();
    assert_eq!(*recovered.keys.age_secret(), *made.keys.age_secret());
    assert!(recovered.receipt.is_none());
    assert!(!world.holds("pending-recover-0"));
}

#[tokio::test]
async fn a_node_that_refuses_an_old_finish_locks_nobody_out() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    world.script([Step::Answer, status(400)]);
    assert!(
        vault
            .recover(CODE, Slot(0))
            .await
            .unwrap()
            .receipt
            .is_none()
    );
    // The ticket's key is gone, says the node, or an answer that does not open: each time.
    for refused in [status(400), status(404), Step::Raw(vec![7; 99])] {
        world.script([refused]);
        vault.status(Slot(0), None).await.unwrap();
        assert!(
            world.holds("pending-recover-0"),
            "a host's word removes nothing"
        );
    }
    world.script([status(400)]);
    vault.recover(CODE, Slot(0)).await.unwrap();
    assert!(!world.holds("pending-recover-0"));
}

#[tokio::test]
async fn a_damaged_finish_is_kept_aside_and_told_and_damaged_keys_are_named() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    let journal = &world.shared.journal;
    for name in ["pending-recover-0", "pending-register-0-0"] {
        journal.put(name, b"no finish").unwrap();
        vault.status(Slot(0), None).await.unwrap();
        assert!(!world.holds(name));
        let kept = format!("damaged-{name}-0");
        assert_eq!(journal.get(&kept).unwrap().unwrap(), b"no finish");
        let settled = vault.take_settled();
        let [
            Settled {
                outcome: Outcome::Damaged { kept_as },
                ..
            },
        ] = settled.as_slice()
        else {
            panic!("{settled:?}")
        };
        assert_eq!(*kept_as, kept);
    }
    journal.put("keys-0", b"short").unwrap();
    let error = vault.device(Slot(0)).keys().err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("damaged; recover it"), "{error}");
}

#[tokio::test]
async fn one_damaged_slot_does_not_block_the_others() {
    let world = World::new().await;
    let vault = world.vault().await;
    let journal = &world.shared.journal;
    journal.put("keys-1", b"short").unwrap();
    journal.put("pending-register-1-0", b"no finish").unwrap();
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    vault.recover(CODE, Slot(0)).await.unwrap();
    vault
        .register(b"another code", b"", Slot(1), None)
        .await
        .unwrap();
}

/// A device whose storage is full for everything of one name.
pub struct Full {
    journal: Arc<MemoryJournal>,
    name: &'static str,
}

impl Full {
    pub fn new(journal: Arc<MemoryJournal>, name: &'static str) -> Self {
        Self { journal, name }
    }
}

impl Journal for Full {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.journal.get(name)
    }

    fn put(&self, name: &str, value: &[u8]) -> io::Result<()> {
        if name == self.name {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.journal.put(name, value)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.journal.remove(name)
    }
}

#[tokio::test]
async fn what_cannot_be_put_down_is_not_sent() {
    let world = World::new().await;
    let full = Full::new(world.shared.journal.clone(), "pending-register-0-0");
    let vault = world.vault_with(Arc::new(full)).await;
    let failed = vault.register(CODE, b"", Slot(0), None).await.err();
    assert!(matches!(failed, Some(Error::Journal(_))), "{failed:?}");
    assert!(world.finishes_sent().is_empty());
}

#[tokio::test]
async fn a_full_device_gets_its_keys_and_its_guesses_back_and_is_told() {
    for name in ["pending-recover-0", "keys-0"] {
        let world = World::new().await;
        let vault = world.vault().await;
        let made = vault.register(CODE, b"", Slot(0), None).await.unwrap();
        let full = Full::new(world.shared.journal.clone(), name);
        let vault = world.vault_with(Arc::new(full)).await;
        for _ in 0..3 {
            let recovered = vault.recover(CODE, Slot(0)).await.unwrap();
            assert!(matches!(recovered.not_kept, Some(Error::Journal(_))));
            assert!(recovered.receipt.is_some(), "{name}");
            assert_eq!(*recovered.keys.age_secret(), *made.keys.age_secret());
            assert!(!world.shared.hsm.pending(Slot(0)), "{name}: restored");
        }
    }
}

#[tokio::test]
async fn one_code_for_two_slots_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    world.forget_requests();
    let refused = vault.register(CODE, b"", Slot(1), None).await.err();
    assert!(matches!(refused, Some(Error::CodeInUse)));
    assert!(world.requests().is_empty());
    vault
        .register(b"another code", b"", Slot(1), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_code_keeps_the_keys_and_proves_them() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault.register(CODE, b"note", Slot(0), None).await.unwrap();
    vault
        .change_code(b"another code", &made.keys, Slot(0))
        .await
        .unwrap();
    let sent = world.finishes_sent();
    let Some(Finish::Register(finish)) = sent.last() else {
        panic!("a registration")
    };
    assert!(finish.owner_proof.is_some());
    let wrong = vault.recover(CODE, Slot(0)).await.err();
    assert!(matches!(wrong, Some(Error::WrongCode { .. })));
    let got = vault.recover(b"another code", Slot(0)).await.unwrap();
    assert_eq!(*got.keys.age_secret(), *made.keys.age_secret());
    assert_eq!(*got.keys.payload, b"note");
}

//! Cuts at any write, and two processes on one slot: no keys without their finish, nobody's keys
//! for another's.

use super::crash::device_and_fleet_agree;
use super::fleet::{CODE, World};
use super::server::{Step, status};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strongroom_client::wire::Slot;
use strongroom_client::wire::answer::Refusal;
use strongroom_client::{Error, Journal, MemoryJournal, Outcome};
use tokio::sync::Notify;

#[tokio::test]
async fn two_processes_on_one_slot_do_not_swap_keys() {
    let world = World::new().await;
    let (one, two) = (world.vault().await, world.vault().await);
    let arrived = Arc::new(Notify::new());
    // The first is carried out and killed before the answer. The other began at the same time.
    world.script([Step::Answer, Step::Hang(arrived.clone())]);
    tokio::select! {
        _ = one.register(CODE, b"one", Slot(0), None) => panic!("it is never answered"),
        () = arrived.notified() => {}
    }
    drop(one);
    // Its journal as the other saw it when it looked: nothing was pending yet.
    let pending = world
        .shared
        .journal
        .get("pending-register-0-0")
        .unwrap()
        .unwrap();
    world.shared.journal.remove("pending-register-0-0").unwrap();
    let late = Late {
        journal: world.shared.journal.clone(),
        pending,
    };
    let refused = world.vault_with(Arc::new(late)).await;
    let refused = refused
        .register(b"another", b"two", Slot(0), None)
        .await
        .err();
    assert!(
        matches!(refused, Some(Error::Refused(Refusal::OwnerProofNeeded))),
        "{refused:?}"
    );
    // The refused one dropped its own and nothing else.
    assert!(world.holds("pending-register-0-0") && !world.holds("pending-register-0-1"));
    two.finish_pending().await.unwrap();
    device_and_fleet_agree(&world).await;
    assert_eq!(
        *two.device(Slot(0)).keys().unwrap().unwrap().payload,
        b"one"
    );
}

/// A journal in which another process puts a registration down just before this one does.
struct Late {
    journal: Arc<MemoryJournal>,
    pending: Vec<u8>,
}

impl Journal for Late {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.journal.get(name)
    }

    fn put(&self, name: &str, value: &[u8]) -> io::Result<()> {
        self.journal.put(name, value)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.journal.remove(name)
    }

    fn put_new(&self, name: &str, value: &[u8]) -> io::Result<bool> {
        self.journal
            .put_new("pending-register-0-0", &self.pending)?;
        self.journal.put_new(name, value)
    }
}

#[tokio::test]
async fn a_fifth_registration_without_an_answer_takes_the_place_of_the_oldest() {
    let world = World::new().await;
    let vault = world.vault().await;
    for number in 0..6u8 {
        world.script((0..number.min(4)).map(|_| status(400)));
        world.script([Step::Answer, status(400)]);
        let failed = vault.register(&[number; 9], b"", Slot(0), None).await.err();
        assert!(matches!(failed, Some(Error::Transport(_))), "{failed:?}");
    }
    // One of those that wait is taken; the others are refused, each by itself.
    vault.finish_pending().await.unwrap();
    let settled = vault.take_settled();
    let taken = settled
        .iter()
        .filter(|s| matches!(s.outcome, Outcome::Registered(_)));
    assert_eq!((taken.count(), settled.len()), (1, 4));
    device_and_fleet_agree(&world).await;
}

/// The app dies at the first write or removal of that name: nothing after it happens.
struct Cut {
    journal: Arc<MemoryJournal>,
    name: &'static str,
    dead: AtomicBool,
}

impl Cut {
    fn alive(&self, name: &str) -> io::Result<()> {
        if name == self.name {
            self.dead.store(true, Ordering::Relaxed);
        }
        if self.dead.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

impl Journal for Cut {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.journal.get(name)
    }

    fn put(&self, name: &str, value: &[u8]) -> io::Result<()> {
        self.alive(name)?;
        self.journal.put(name, value)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.alive(name)?;
        self.journal.remove(name)
    }
}

#[tokio::test]
async fn no_cut_of_a_recovery_leaves_keys_without_a_finish_or_guesses_unrestored() {
    for name in ["pending-recover-0", "keys-0", "code-0"] {
        let world = World::new().await;
        let made = world
            .vault()
            .await
            .register(CODE, b"", Slot(0), None)
            .await
            .unwrap();
        world.forget_requests();
        let phone = Arc::new(MemoryJournal::default());
        let dead = AtomicBool::new(false);
        let cut = Cut {
            journal: phone.clone(),
            name,
            dead,
        };
        let cut = world.vault_with(Arc::new(cut)).await;
        let _ = cut.recover(CODE, Slot(0)).await;
        let finishes = world.finishes_sent().len();
        let held = |name: &str| phone.get(name).unwrap().is_some();
        if held("keys-0") {
            assert!(
                held("pending-recover-0") || finishes > 0,
                "{name}: no finish for the keys"
            );
        }
        let vault = world.vault_with(phone.clone()).await;
        vault.finish_pending().await.unwrap();
        if !held("keys-0") {
            vault.recover(CODE, Slot(0)).await.unwrap();
        }
        let keys = vault.device(Slot(0)).keys().unwrap().unwrap();
        assert_eq!(*keys.age_secret(), *made.keys.age_secret());
        // Cut before anything of the answer was down, it is a guess that nobody can go on with.
        let guesses = if name == "pending-recover-0" { 2 } else { 1 };
        assert_eq!(world.shared.hsm.guesses(), guesses, "{name}");
        assert!(
            !world.shared.hsm.pending(Slot(0)),
            "{name}: the guesses are restored"
        );
    }
}

//! What the SDK asks about a new code, and what the device keeps of it (DESIGN §5, §9).

use super::crash::{Full, device_and_fleet_agree};
use super::fleet::{CODE, World};
use std::sync::Arc;
use strongroom_client::wire::Slot;
use strongroom_client::{BackupKeys, Error, Journal, MemoryJournal, NewCode, Rehearsal};

#[tokio::test]
async fn after_guessing_destroyed_a_key_another_code_must_be_confirmed() {
    let world = World::new().await;
    let vault = world.vault().await;
    world.shared.hsm.destroy(2);
    let asked = vault.register(CODE, b"", Slot(0), None).await.err();
    assert!(
        matches!(asked, Some(Error::CodeMayBeKnown { destroyed: 2 })),
        "{asked:?}"
    );
    assert!(world.finishes_sent().is_empty() && !world.holds("pending-register-0-0"));
    let keys = BackupKeys::generate();
    let asked = vault.change_code(CODE, &keys, Slot(0)).await.err();
    assert!(
        matches!(asked, Some(Error::CodeMayBeKnown { .. })),
        "{asked:?}"
    );
    let different = NewCode::new(CODE).confirmed_different();
    vault.register(different, b"", Slot(0), None).await.unwrap();
    device_and_fleet_agree(&world).await;
}

#[tokio::test]
async fn the_code_is_kept_only_where_it_was_asked_for_and_rehearsed_in_any_case() {
    let world = World::new().await;
    let holds_code = || {
        let device = world.shared.journal.get("code-0").unwrap().unwrap();
        // Nonce, tag and one byte of kind around it: a verifier is longer.
        device.len() == 24 + 16 + 1 + CODE.len()
    };
    let vault = world.vault().await;
    vault.register(CODE, b"", Slot(0), None).await.unwrap();
    for kept in [false, true] {
        let vault = world.vault().await.with_code_kept(kept);
        vault.recover(CODE, Slot(0)).await.unwrap();
        assert_eq!(holds_code(), kept);
        let device = vault.device(Slot(0));
        assert_eq!(device.rehearse(CODE).unwrap(), Rehearsal::Right);
        assert_eq!(device.rehearse(b"another").unwrap(), Rehearsal::Wrong);
    }
}

#[tokio::test]
async fn a_device_that_cannot_keep_the_code_recovers_and_does_not_rehearse_a_former_one() {
    let world = World::new().await;
    let vault = world.vault().await;
    let made = vault.register(CODE, b"", Slot(0), None).await.unwrap();
    let phone = world.vault_with(Arc::new(MemoryJournal::default())).await;
    phone
        .change_code(b"another", &made.keys, Slot(0))
        .await
        .unwrap();
    let full = Full::new(world.shared.journal.clone(), "code-0");
    let vault = world.vault_with(Arc::new(full)).await;
    vault.recover(b"another", Slot(0)).await.unwrap();
    let rehearsed = vault.device(Slot(0)).rehearse(b"another").unwrap();
    assert_eq!(
        rehearsed,
        Rehearsal::Unknown,
        "the former code is not the code"
    );
}

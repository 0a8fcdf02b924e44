//! Killed at any moment, out of disk, under load: nothing acknowledged is lost, no guess is spent
//! twice, and nothing needs help afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Dev;
use common::load::{Door, live};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

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
    let door = Arc::new(Door::of(&dev.path("vault/phone")));
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

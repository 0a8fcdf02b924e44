//! Long runs, each drawn from its seed.

use std::collections::BTreeMap;
use strongroom_sim::cluster::{Cluster, Setting};

/// Long runs, unless told.
const SEEDS: u64 = 200;
/// Virtual time that faults go on, ms.
const WILD_MS: u64 = 40_000;

/// Prints how to replay a run that ends in a panic.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with: cargo xtask sim --seed {} --replay", self.0);
        }
    }
}

#[derive(Default)]
struct Sum {
    events: u64,
    answers: u64,
    destroyed: u32,
    most: usize,
    slowest: u64,
    seen: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn run(&mut self, seed: u64) {
        let _told = Told(seed);
        let mut cluster = Cluster::new(Setting::drawn(seed, None));
        cluster.go_wild();
        cluster.run_for(WILD_MS);
        let took = cluster.settle();
        let (most, destroyed, answers) = cluster.answered();
        self.events += cluster.events();
        self.answers += answers;
        self.destroyed += destroyed;
        self.most = self.most.max(most);
        self.slowest = self.slowest.max(took);
        for (what, times) in cluster.seen() {
            *self.seen.entry(what).or_default() += times;
        }
    }

    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.answers += other.answers;
        self.destroyed += other.destroyed;
        self.most = self.most.max(other.most);
        self.slowest = self.slowest.max(other.slowest);
        for (what, times) in &other.seen {
            *self.seen.entry(what).or_default() += times;
        }
    }
}

fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_goes_wrong_there_is_one_history_and_it_goes_on() {
    if let Some(seed) = told("STRONGROOM_CLUSTER_SEED") {
        Sum::default().run(seed);
        return;
    }
    let seeds = told("STRONGROOM_CLUSTER_SEEDS").unwrap_or(SEEDS);
    let began = std::time::Instant::now();
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            let mut sum = Sum::default();
            (0..seeds)
                .filter(|seed| seed % 2 == half)
                .for_each(|seed| sum.run(seed));
            sum
        })
    });
    let mut sum = Sum::default();
    for half in halves {
        sum.add(&half.join().expect("its panic is above"));
    }
    println!(
        "{} events, {} answers, {} records destroyed, {} guesses at most; whole after {} ms; {:?}",
        sum.events,
        sum.answers,
        sum.destroyed,
        sum.most,
        sum.slowest,
        began.elapsed()
    );
    println!("{:?}", sum.seen);
}

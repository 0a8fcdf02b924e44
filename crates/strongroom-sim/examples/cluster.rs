//! One run of the cluster, from its seed: `cargo xtask sim --seed N [--members N] [--replay]`.

use strongroom_sim::cluster::{Cluster, Setting};

/// Virtual time that faults go on, ms; as the tests have it.
const WILD_MS: u64 = 40_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let members = after("--members").and_then(|it| usize::try_from(it).ok());
    let setting = Setting::drawn(after("--seed").unwrap_or(0), members);
    println!("{setting:?}");
    let mut cluster = match arguments.iter().any(|it| it == "--replay") {
        true => Cluster::traced(setting),
        false => Cluster::new(setting),
    };
    cluster.go_wild();
    cluster.run_for(after("--wild").unwrap_or(WILD_MS));
    let took = cluster.settle();
    println!(
        "{} events; whole {took} ms after all was mended",
        cluster.events()
    );
    println!("{}", cluster.standing());
    println!("{:?}", cluster.seen());
}

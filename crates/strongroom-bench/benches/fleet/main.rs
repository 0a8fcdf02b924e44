//! A fleet under load: durable recoveries and writes per second, the CPU of all members, latency,
//! failover, a follower that is dead, rest (DESIGN §13).
//!
//! Every member's node and HSM are processes of their own; the clients are this one, on the same
//! cores, and their cost is counted apart. `--only NAME` measures one part: throughput, failover;
//! `--members N` fleets of that size.
#![forbid(unsafe_code)]

mod failover;
#[path = "../vault/load.rs"]
mod load;
mod server;
mod writes;

use failover::Blow;
use load::{Done, Load, percentile};
use server::{Cpu, Server};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// Sizes of fleets.
const SIZES: [u8; 4] = [1, 3, 5, 7];
/// The size that the targets are set for.
const USUAL: u8 = 5;
/// Accounts that are registered first.
const ACCOUNTS: usize = 2_000;
/// Operations of one measurement.
const OPERATIONS: usize = 4_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
        Some("hsm") => strongroom_hsm::run(arguments.skip(1)),
        Some("serve") => {
            let file = arguments.nth(1).expect("serve FILE");
            server::serve(Path::new(&file))
        }
        _ => {
            let arguments: Vec<String> = arguments.collect();
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(measure(&arguments))
        }
    }
}

fn print(what: &str, measured: &str, target: &str, met: Option<bool>) {
    let verdict = met.map_or("-", |met| if met { "met" } else { "MISSED" });
    println!("bench | {what} | {measured} | {target} | {verdict}");
}

async fn measure(arguments: &[String]) -> ExitCode {
    let big = arguments.iter().any(|argument| argument == "--big");
    let option = |name: &str| {
        arguments
            .iter()
            .skip_while(|argument| *argument != name)
            .nth(1)
    };
    let wanted = |part: &str| option("--only").is_none_or(|only| only == part);
    let size = option("--members").map(|size| size.parse::<u8>().expect("--members N"));
    if wanted("throughput") {
        for members in SIZES {
            if size.is_none_or(|size| size == members) {
                throughput(members).await;
            }
        }
        between_sites();
    }
    if wanted("failover") && !failovers(if big { 100 } else { 10 }).await {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Everything that is measured on one fleet whose leader lives.
async fn throughput(members: u8) {
    let place = tempfile::tempdir().expect("a directory");
    let server = Arc::new(Server::start(place.path(), members).await);
    load::run(&server, Load::Register, 64, ACCOUNTS, (0, ACCOUNTS)).await;
    recoveries(&server, "each member asked in turn").await;
    if members > 1 {
        server.http.aim(Some(server.leader().await));
        recoveries(&server, "the leader asked").await;
        server.http.aim(None);
    }
    if members <= USUAL {
        lone(&server).await;
    }
    if members == USUAL {
        for clients in [64, 256] {
            write(&server, clients).await;
        }
        without_a_follower(&server).await;
        idle(&server).await;
    }
}

async fn recovered(server: &Arc<Server>) -> (Done, Cpu) {
    let before = server.cpu();
    let done = load::run(server, Load::Recover, 64, OPERATIONS, (0, ACCOUNTS)).await;
    let after = server.cpu();
    let per = |seconds: f64| seconds * 1e6 / done.operations as f64;
    let cpu = Cpu {
        nodes: per(after.nodes - before.nodes),
        hsms: per(after.hsms - before.hsms),
        clients: per(after.clients - before.clients),
    };
    (done, cpu)
}

fn rate(done: &Done) -> f64 {
    done.operations as f64 / done.wall.as_secs_f64()
}

async fn recoveries(server: &Arc<Server>, how: &str) {
    let (done, cpu) = recovered(server).await;
    let members = server.size();
    let judged = members == usize::from(USUAL);
    let target = |target: &'static str| if judged { target } else { "-" };
    let name = |what: &str| format!("{what}, n = {members}, {how}");
    let rate = rate(&done);
    let met = judged.then_some(rate >= 1_800.0);
    print(
        &name("recoveries/s, 64 clients"),
        &format!("{rate:.0}"),
        target("≥ 1800"),
        met,
    );
    // As if the clients were elsewhere.
    let all = cpu.nodes + cpu.hsms;
    let words = format!("{:.0}", 2e6 / all);
    print(
        &name("recoveries/s on 2 cores by server CPU"),
        &words,
        "-",
        None,
    );
    let words = format!("{all:.0} µs (nodes {:.0}, HSMs {:.0})", cpu.nodes, cpu.hsms);
    let met = judged.then_some(all <= 800.0);
    print(
        &name("server CPU per recovery"),
        &words,
        target("≤ 800 µs"),
        met,
    );
    let words = format!("{:.0} µs", cpu.clients);
    print(&name("clients' CPU per recovery"), &words, "-", None);
    let (half, most) = (percentile(&done.both, 50), percentile(&done.both, 99));
    let words = format!("p50 {half:.1} ms, p99 {most:.1} ms");
    print(&name("recovery until the receipt"), &words, "-", None);
}

/// One client alone, on this machine: there is no way between sites.
async fn lone(server: &Arc<Server>) {
    let done = load::run(server, Load::Recover, 1, 500, (0, ACCOUNTS)).await;
    let members = server.size();
    for (what, latencies) in [("secret", &done.first), ("receipt", &done.both)] {
        let (half, most) = (percentile(latencies, 50), percentile(latencies, 99));
        let words = format!("p50 {half:.2} ms, p99 {most:.2} ms");
        let what = format!("lone recovery until the {what}, at the client, n = {members}");
        print(&what, &words, "p50 ≤ 2 ms", Some(half <= 2.0));
    }
}

/// The row for members far apart needs a kernel that can delay packets.
fn between_sites() {
    let what = "lone recovery, 40 ms between sites";
    print(what, &format!("left out: {}", no_delay()), "-", None);
}

/// Why packets are not delayed here.
fn no_delay() -> String {
    let run = |line: &str| {
        let mut words = line.split(' ');
        let program = words.next().expect("a program");
        Command::new(program).args(words).output()
    };
    // In a namespace of its own, so that nothing here is slowed down.
    let line = "unshare --net tc qdisc add dev lo root netem delay 20ms";
    match run(line) {
        Ok(output) if output.status.success() => "not written yet for `tc netem`".to_owned(),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            format!("`tc netem`: {}", words.lines().next().unwrap_or("failed"))
        }
        Err(error) => format!("`unshare` and `tc`: {error}"),
    }
}

async fn write(server: &Arc<Server>, clients: usize) {
    let ready = writes::prepared(server, &format!("{clients} write"), OPERATIONS).await;
    let before = server.cpu();
    let wall = writes::sent(server, ready, clients).await;
    let after = server.cpu();
    let rate = OPERATIONS as f64 / wall.as_secs_f64();
    let members = server.size();
    let what = format!("writes/s (no OPAQUE), n = {members}, {clients} clients");
    let met = (clients == 64).then_some(rate >= 4_700.0);
    print(&what, &format!("{rate:.0}"), "≥ 4700", met);
    let per = |seconds: f64| seconds * 1e6 / OPERATIONS as f64;
    let (nodes, hsms) = (
        per(after.nodes - before.nodes),
        per(after.hsms - before.hsms),
    );
    let clients = per(after.clients - before.clients);
    let words = format!("nodes {nodes:.0} µs, HSMs {hsms:.0} µs, clients {clients:.0} µs");
    print(&format!("CPU per write, n = {members}"), &words, "-", None);
}

/// The same load with all members, with one of the followers dead, and with all again.
async fn without_a_follower(server: &Arc<Server>) {
    let (before, _) = recovered(server).await;
    let leader = server.leader().await;
    let follower = if leader == 1 { 2 } else { 1 };
    server.kill(follower);
    let (without, _) = recovered(server).await;
    server.revive(follower);
    server.caught_up().await;
    let (after, _) = recovered(server).await;
    let alive = f64::midpoint(rate(&before), rate(&after));
    let slower = alive / rate(&without);
    let words = format!("{slower:.2} × ({alive:.0}/s → {:.0}/s)", rate(&without));
    let what = "one follower dead, time per recovery, 64 clients";
    print(what, &words, "≤ 1.2 ×", Some(slower <= 1.2));
    let most = |done: &Done| percentile(&done.both, 99);
    let alive = f64::midpoint(most(&before), most(&after));
    let slower = most(&without) / alive;
    let words = format!("{slower:.2} × ({alive:.1} ms → {:.1} ms)", most(&without));
    print(
        "one follower dead, p99",
        &words,
        "≤ 1.2 ×",
        Some(slower <= 1.2),
    );
}

/// What all processes use while nobody asks.
async fn idle(server: &Server) {
    const SECONDS: u64 = 20;
    let before = server.cpu();
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let after = server.cpu();
    let percent = |used: f64| used * 100.0 / SECONDS as f64;
    let nodes = percent(after.nodes - before.nodes);
    let hsms = percent(after.hsms - before.hsms);
    let words = format!("{:.1} % of a core (HSMs {hsms:.1})", nodes + hsms);
    let what = format!("idle, all processes, n = {}", server.size());
    print(&what, &words, "≤ 3 %", Some(nodes + hsms <= 3.0));
}

/// Whether nothing was lost and nothing spent twice.
async fn failovers(times: usize) -> bool {
    let place = tempfile::tempdir().expect("a directory");
    let server = Arc::new(Server::start(place.path(), USUAL).await);
    let blows = [
        (Blow::NodeKilled, "leader's node killed"),
        (Blow::HsmKilled, "leader's HSM killed"),
        (Blow::HsmHangs, "leader's HSM hangs"),
    ];
    let kinds = blows.map(|(blow, _)| blow);
    let (outages, registered, wrong) = failover::run(&server, &kinds, times).await;
    for (outages, (_, name)) in outages.iter().zip(blows) {
        for (what, waits, judged) in [
            ("next recovery answered", &outages.first, true),
            ("every client answered", &outages.last, false),
        ] {
            let [half, most, all] = [50, 99, 100].map(|percent| percentile(waits, percent));
            let words = format!("p50 {half:.0} ms, p99 {most:.0} ms, max {all:.0} ms");
            let what = format!("{name} → {what}, {times} times");
            let target = if judged { "p99 ≤ 2000 ms" } else { "-" };
            print(&what, &words, target, judged.then_some(most <= 2_000.0));
        }
    }
    let words = format!(
        "{} of {registered} registrations and all guesses",
        wrong.len()
    );
    let what = "failover: lost, or counted twice";
    print(what, &words, "0", Some(wrong.is_empty()));
    for words in &wrong {
        println!("WRONG: {words}");
    }
    wrong.is_empty()
}

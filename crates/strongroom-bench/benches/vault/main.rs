//! One member under load: HSM CPU against bare cryptography, durable operations per second,
//! latency, disk and memory (DESIGN §13, as far as one member goes).
//!
//! Node and HSM are processes of their own; the clients are this one, and their cost is not
//! counted. Rates by CPU say what two cores would carry if they did nothing else; rates by the wall
//! clock are with the clients on the same machine.
#![forbid(unsafe_code)]

mod bare;
mod load;
mod server;

use load::{Done, Load, percentile};
use server::Server;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Accounts that are registered first.
const ACCOUNTS: usize = 10_000;
/// Operations of one measurement.
const OPERATIONS: usize = 4_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("hsm") => strongroom_hsm::run(arguments),
        Some("serve") => {
            let dir = arguments.next().expect("serve DIR");
            server::serve(Path::new(&dir))
        }
        first => {
            let big = first == Some("--big") || arguments.any(|argument| argument == "--big");
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(measure(big));
            ExitCode::SUCCESS
        }
    }
}

fn print(what: &str, measured: &str, target: &str, met: Option<bool>) {
    let verdict = met.map_or("-", |met| if met { "met" } else { "MISSED" });
    println!("bench | {what} | {measured} | {target} | {verdict}");
}

async fn measure(big: bool) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (alone, bare) = (bare::measure(1), bare::measure(cores));
    for (how, bare) in [("one core busy", alone), ("every core busy", bare)] {
        let parts = format!(
            "{:.0} µs (OPAQUE {:.0}, X-Wing {:.0}, token and possession {:.0})",
            bare.sum(),
            bare.opaque,
            bare.hpke,
            bare.signatures
        );
        let what = format!("bare cryptography of a recovery, {how}");
        print(&what, &parts, "-", None);
    }
    for (name, ms) in bare::stretching() {
        let what = format!("key stretching on the client, {name}");
        print(&what, &format!("{ms:.0} ms"), "-", None);
    }
    let place = tempfile::tempdir().expect("a directory");
    let server = Arc::new(Server::start(place.path()).await);
    let (disk, memory) = (server.disk_bytes(), server.hsm_memory_kib());
    let accounts = if big { 1_000_000 } else { ACCOUNTS };
    register(&server, accounts).await;
    // Most of it is the journal, which is bounded; `node/store` measures the tables.
    let mib = server.disk_bytes().saturating_sub(disk) / (1024 * 1024);
    let what = format!("disk after {accounts} records, journal and all");
    print(&what, &format!("{mib} MiB"), "-", None);
    let now = server.hsm_memory_kib();
    let what = format!("HSM memory, empty → {accounts} records");
    print(
        &what,
        &format!("{memory} → {now} KiB"),
        "≤ 65536 KiB",
        Some(now <= 65_536),
    );
    for clients in [1, 8, 64] {
        recoveries(&server, clients, accounts, bare.sum()).await;
    }
    idle(&server).await;
    let end = server.hsm_memory_kib();
    let grown = format!("{end} KiB");
    print(
        "HSM memory after the load",
        &grown,
        "≤ 65536 KiB",
        Some(end <= 65_536),
    );
}

async fn register(server: &Arc<Server>, accounts: usize) {
    let before = server.cpu();
    let done = load::run(server, Load::Register, 64, accounts, (0, accounts)).await;
    let after = server.cpu();
    let cpu = (after.node + after.hsm - before.node - before.hsm) / accounts as f64;
    let rate = done.operations as f64 / done.wall.as_secs_f64();
    print(
        "registrations/s, 64 clients, wall clock",
        &format!("{rate:.0}"),
        "-",
        None,
    );
    print(
        "server CPU per registration",
        &format!("{:.0} µs", cpu * 1e6),
        "-",
        None,
    );
}

async fn recoveries(server: &Arc<Server>, clients: usize, accounts: usize, bare: f64) {
    let operations = if clients == 1 {
        OPERATIONS / 4
    } else {
        OPERATIONS
    };
    let before = server.cpu();
    let done: Done = load::run(server, Load::Recover, clients, operations, (0, accounts)).await;
    let after = server.cpu();
    let per = |seconds: f64| seconds * 1e6 / done.operations as f64;
    let (node, hsm) = (per(after.node - before.node), per(after.hsm - before.hsm));
    let rate = done.operations as f64 / done.wall.as_secs_f64();
    let name = |what: &str| format!("{what}, {clients} clients");
    print(
        &name("recoveries/s by the wall clock"),
        &format!("{rate:.0}"),
        "-",
        None,
    );
    let carried = 2e6 / (node + hsm);
    let target = if clients == 64 { "≥ 2500" } else { "-" };
    let met = (clients == 64).then_some(carried >= 2500.0);
    print(
        &name("recoveries/s on 2 cores by server CPU"),
        &format!("{carried:.0}"),
        target,
        met,
    );
    let ratio = hsm / bare;
    let words = format!("{hsm:.0} µs = {ratio:.2} × bare, every core busy");
    let met = (clients == 64).then_some(ratio <= 1.25);
    print(&name("HSM CPU per recovery"), &words, "≤ 1.25 ×", met);
    print(
        &name("node CPU per recovery"),
        &format!("{node:.0} µs"),
        "-",
        None,
    );
    for (what, latencies) in [
        ("recovery until the secret, at the client", &done.first),
        ("recovery until the receipt, at the client", &done.both),
    ] {
        let (half, most) = (percentile(latencies, 50), percentile(latencies, 99));
        let met = (clients == 1).then_some(half <= 2.0);
        let target = if clients == 1 { "p50 ≤ 2 ms" } else { "-" };
        let words = format!("p50 {half:.2} ms, p99 {most:.2} ms");
        print(&name(what), &words, target, met);
    }
}

/// What the two processes use while nobody asks.
async fn idle(server: &Server) {
    const SECONDS: u64 = 5;
    let before = server.cpu();
    tokio::time::sleep(std::time::Duration::from_secs(SECONDS)).await;
    let after = server.cpu();
    let used = after.node + after.hsm - before.node - before.hsm;
    let percent = used * 100.0 / SECONDS as f64;
    let words = format!("{percent:.1} % of a core");
    print(
        "idle, both processes",
        &words,
        "≤ 3 %",
        Some(percent <= 3.0),
    );
}

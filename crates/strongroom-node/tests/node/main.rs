//! The node as its clients and its operator meet it: over HTTPS, in front of a real HSM process.
#![allow(clippy::unwrap_used, missing_docs)]

mod admission;
mod api;
mod busy;
mod common;
mod config;
mod crash;
mod damage;
mod engine;
mod fleet;
mod idle;
mod issuer;
mod logs;
mod metrics;
mod openapi;
mod rates;
mod store;
mod tls;
mod torn;

/// The node starts this program as its HSM (see `common::hsm_command`). Run as a test it only shows
/// that the program it would be is there.
#[test]
fn this_program_is_the_hsm_when_it_is_started_as_one() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--dir") {
        let ended = strongroom_hsm::run(arguments[at..].iter().cloned());
        // The harness would say "ok" where the node waits for a process to end.
        std::process::exit(i32::from(
            format!("{ended:?}") != format!("{:?}", std::process::ExitCode::SUCCESS),
        ));
    }
    let version = strongroom_hsm::run(["--version".to_owned()].into_iter());
    assert_eq!(
        format!("{version:?}"),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
}

//! The HSM process.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    strongroom_hsm::run(std::env::args().skip(1))
}

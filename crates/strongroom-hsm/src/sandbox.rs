//! The sandbox: what the process gives up before it reads its first frame.
//!
//! - Landlock: no file but those of its own directory; no TCP.
//! - seccomp: no sockets, no new programs, no tracing; each is refused (EPERM).
//! - no core dumps, not traceable by its own user, no new privileges.
//!
//! This protects the host from the HSM process, and the process from a bug in itself. It does not
//! protect the process from root: that is what platform classes are about (DESIGN §8).

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;
use std::path::Path;

/// Gives up everything that serving frames does not need. Call it before threads start: they
/// inherit it.
///
/// # Errors
/// What could not be given up, in words.
pub fn enter(dir: &Path) -> Result<(), String> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| format!("cannot forbid memory dumps: {e}"))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)
        .map_err(|e| format!("cannot forbid core files: {e}"))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|e| format!("cannot give up new privileges: {e}"))?;
    if rustix::mm::mlockall(rustix::mm::MlockAllFlags::CURRENT).is_err() {
        eprintln!(
            "strongroom-hsm: warning: memory is not locked (RLIMIT_MEMLOCK); swap may hold keys"
        );
    }
    restrict_files(dir)?;
    restrict_calls()
}

fn restrict_files(dir: &Path) -> Result<(), String> {
    let abi = ABI::V5;
    let failed = |e: &dyn std::fmt::Display| format!("Landlock: {e}");
    let own = PathFd::new(dir).map_err(|e| failed(&e))?;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(own, own_access())))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|e| failed(&e))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => {
            eprintln!("strongroom-hsm: warning: this kernel enforces Landlock in part only");
        }
        RulesetStatus::NotEnforced => {
            eprintln!(
                "strongroom-hsm: warning: this kernel has no Landlock; seccomp alone is left"
            );
        }
    }
    Ok(())
}

fn own_access() -> landlock::BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Refer
}

/// Calls that end the process: the network, other programs, other processes, the kernel's doors.
fn forbidden() -> Vec<i64> {
    let mut calls = Vec::new();
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        41, 42, 43, 49, 50, 288, // socket, connect, accept, bind, listen, accept4
        56, 57, 58, // clone without threads is refused by flags below; fork, vfork
        59, 322, // execve, execveat
        101, 310, 311, // ptrace, process_vm_readv, process_vm_writev
        155, 161, 165, 166, // pivot_root, chroot, mount, umount2
        169, 175, 176, 246, 313, 320, // reboot, modules, kexec
        250, 248, 249, // keyctl, add_key, request_key
        272, 308, 321, 323, 425, 298, // unshare, setns, bpf, userfaultfd, io_uring, perf
    ]);
    #[cfg(target_arch = "x86_64")]
    calls.retain(|call| *call != 56);
    calls
}

fn restrict_calls() -> Result<(), String> {
    let rules: BTreeMap<i64, Vec<_>> = forbidden().into_iter().map(|call| (call, vec![])).collect();
    if rules.is_empty() {
        eprintln!("strongroom-hsm: warning: no system-call filter for this architecture");
        return Ok(());
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| format!("seccomp: {e}"))?;
    let denied = SeccompAction::Errno(1);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|e| format!("seccomp: {e}"))?;
    seccompiler::apply_filter(&filter).map_err(|e| format!("seccomp: {e}"))
}

/// Tries what must be forbidden; one line each.
pub fn self_test() -> String {
    let attempts = [
        ("read /etc/passwd", std::fs::read("/etc/passwd").is_err()),
        ("list /", std::fs::read_dir("/").is_err()),
        (
            "write a temporary file",
            std::fs::write(std::env::temp_dir().join("strongroom-hsm-self-test"), b"x").is_err(),
        ),
        (
            "connect by TCP",
            std::net::TcpStream::connect("127.0.0.1:9").is_err_and(denied),
        ),
        (
            "listen by TCP",
            std::net::TcpListener::bind("127.0.0.1:0").is_err_and(denied),
        ),
        (
            "send by UDP",
            std::net::UdpSocket::bind("127.0.0.1:0").is_err_and(denied),
        ),
        (
            "run a program",
            std::process::Command::new("/bin/true").spawn().is_err(),
        ),
    ];
    attempts
        .iter()
        .map(|(what, is_denied)| {
            format!(
                "{what}: {}\n",
                if *is_denied { "denied" } else { "ALLOWED" }
            )
        })
        .collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that is_err_and asks for"
)]
fn denied(error: std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}

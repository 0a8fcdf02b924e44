//! The sandbox: what the process gives up before it reads its first frame.
//!
//! - Landlock ([`enter`]): no file but those of its own directory; no TCP.
//! - seccomp ([`close_calls`]): a list of the calls it needs; all others are refused (EPERM).
//! - no core dumps, not traceable by its own user, no new privileges; memory locked.
//!
//! This protects the host from the HSM process, and the process from a bug in itself. It does not
//! protect the process from root: that is what platform classes are about (DESIGN §8).

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
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
    lock_memory();
    restrict_files(dir)
}

/// Keeps keys out of swap: all memory, also what is allocated later, as far as the limit goes.
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use rustix::thread::CapabilitySet;
    let maximum = getrlimit(Resource::Memlock).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let _ = setrlimit(Resource::Memlock, raised);
    let exempt = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // Under a low limit locked growth would fail allocations; then what is there now is locked.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let wide = exempt || maximum.is_none_or(|bytes| bytes >= LOCKED_BYTES);
    let locked = wide && mlockall(all).is_ok();
    if !locked {
        let _ = mlockall(MlockAllFlags::CURRENT);
    }
    if !locked {
        eprintln!(
            "strongroom-hsm: warning: memory is not locked in full (RLIMIT_MEMLOCK is below \
             {LOCKED_BYTES}); swap may hold keys"
        );
    }
}

/// Address space that 256 threads take at most: a heap of 128 MiB while it is aligned, and a stack.
const LOCKED_BYTES: u64 = 256 * (130 << 20);

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

/// Calls that any argument may go with.
const ALLOWED: &[libc::c_long] = &[
    // the socket
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    // files
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // threads that are there already
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    // clocks and randomness
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    // the end
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The same under their older names.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_rename,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[libc::c_long] = &[];

/// The system calls that serving frames needs: the two files of the anchor and the blobs, the
/// socket that is there already, memory, locks, clocks, randomness, and the end. No call makes a
/// socket, a process, a thread or executable memory.
fn needed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let allowed = ALLOWED.iter().chain(ALLOWED_OLD);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        allowed.map(|call| (*call, Vec::new())).collect();
    let failed = |e| format!("seccomp: {e}");
    // Memory, but none that can be executed.
    let execute = SeccompCmpOp::MaskedEq(libc::PROT_EXEC.cast_unsigned().into());
    let not_executable =
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, execute, 0).map_err(failed)?;
    // Of a descriptor its flags, and a copy; not its signals.
    let mut descriptors = Vec::new();
    for command in [libc::F_GETFD, libc::F_DUPFD_CLOEXEC] {
        let command = u64::from(command.cast_unsigned());
        let only = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command)
            .map_err(failed)?;
        descriptors.push(SeccompRule::new(vec![only]).map_err(failed)?);
    }
    rules.insert(libc::SYS_fcntl, descriptors);
    // A signal to this very process: how an assertion ends it.
    let own = u64::from(std::process::id());
    let to_self =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own).map_err(failed)?;
    for (call, condition) in [
        (libc::SYS_mmap, not_executable.clone()),
        (libc::SYS_mprotect, not_executable),
        (libc::SYS_tgkill, to_self),
    ] {
        let rule = SeccompRule::new(vec![condition]).map_err(failed)?;
        rules.insert(call, vec![rule]);
    }
    Ok(rules)
}

/// Gives up every system call that serving does not need, for all threads at once. Call it when the
/// last thread has started.
///
/// # Errors
/// What could not be given up, in words.
pub fn close_calls() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| format!("seccomp: {e}"))?;
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(needed()?, denied, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|e| format!("seccomp: {e}"))?;
    seccompiler::apply_filter_all_threads(&filter).map_err(|e| format!("seccomp: {e}"))
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
        (
            "start a thread",
            std::thread::Builder::new().spawn(|| {}).is_err(),
        ),
        (
            "open a local socket",
            std::os::unix::net::UnixDatagram::unbound().is_err_and(denied),
        ),
        (
            "watch its own files",
            rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::empty()).is_err(),
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

//! Archives that somebody else made: authentic to age, and refused by name all the same.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Desk, tree};
use std::fs;
use std::io::Write;
use strongroom_backup::{Error, Reason, Refusal, Restored};
use tar::{EntryType, Header};

/// An archive under construction, block by block.
struct Forgery(Vec<u8>);

impl Forgery {
    /// Begins as ours do.
    fn new() -> Self {
        Self(Vec::new()).entry(EntryType::Directory, "./", "", b"")
    }

    fn entry(self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        self.change(kind, path, link, content, |_| ())
    }

    /// An entry whose header `change` has the last word on.
    fn change(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        // Past the library's own checks.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn file(self, path: &str) -> Self {
        self.entry(EntryType::Regular, path, "", b"content")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn hard_link(self, path: &str, first: &str) -> Self {
        self.entry(EntryType::Link, path, first, b"")
    }

    /// Puts it into the store under the name of a snapshot and restores that.
    fn restore(mut self, desk: &Desk) -> Result<Restored, Error> {
        self.0.resize(self.0.len() + 1024, 0);
        let recipient: age::x25519::Recipient =
            desk.identity.recipient().to_string().parse().unwrap();
        let recipients = std::iter::once(&recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).unwrap();
        let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
        writer
            .write_all(&zstd::encode_all(&self.0[..], 1).unwrap())
            .unwrap();
        let object = writer.finish().unwrap();
        let folder = desk.path("store/snapshots");
        fs::create_dir_all(&folder).unwrap();
        let name = "2026-11-24T01-02-03.004Z-0a1b2c3d.tar.zst.age";
        fs::write(folder.join(name), object).unwrap();
        desk.restore("target")
    }

    /// Requires that it is refused at `path` by `rule`, and that nothing anywhere has changed.
    #[track_caller]
    fn refused(self, path: &str, rule: Refusal) {
        let desk = Desk::new();
        fs::create_dir_all(desk.path("outside")).unwrap();
        fs::write(desk.path("outside/canary"), "alive").unwrap();
        fs::create_dir_all(desk.path("store/snapshots")).unwrap();
        let before = tree(&desk.path("outside"));
        let names = desk.names();
        match self.restore(&desk) {
            Err(Error::Hostile { path: at, rule: by }) => {
                assert_eq!((&*at, by), (path, rule));
            }
            other => panic!("{path}: {other:?}"),
        }
        assert_eq!(desk.names(), names);
        assert_eq!(tree(&desk.path("outside")), before);
    }
}

#[test]
fn the_forger_makes_archives_that_are_accepted() {
    let desk = Desk::new();
    let forgery = Forgery::new().directory("a/").file("a/b").file("./c");
    let forgery = forgery.symlink("link", "/etc").hard_link("d", "./a//b");
    forgery.restore(&desk).unwrap();
    let target = tree(&desk.path("target"));
    let names: Vec<_> = target.keys().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(names, ["", "a", "a/b", "c", "d", "link"]);
}

#[test]
fn absolute_paths_are_refused() {
    Forgery::new()
        .file("/etc/x")
        .refused("/etc/x", Refusal::Absolute);
    Forgery::new()
        .file("//etc/x")
        .refused("//etc/x", Refusal::Absolute);
    Forgery::new()
        .directory("/")
        .refused("/", Refusal::Absolute);
    Forgery::new()
        .file("a")
        .hard_link("b", "/etc/passwd")
        .refused("b", Refusal::Absolute);
}

#[test]
fn paths_that_lead_upwards_are_refused() {
    let path = "../outside/canary";
    Forgery::new().file(path).refused(path, Refusal::Parent);
    Forgery::new()
        .directory("..")
        .refused("..", Refusal::Parent);
    Forgery::new()
        .directory("a/")
        .file("a/../b")
        .refused("a/../b", Refusal::Parent);
    Forgery::new()
        .hard_link("b", path)
        .refused("b", Refusal::Parent);
    let long = format!("{}../../x", "a/".repeat(60));
    let forgery = Forgery::new().entry(EntryType::GNULongName, "", "", long.as_bytes());
    forgery.file("innocent").refused(&long, Refusal::Parent);
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    for target in ["../outside", "/", "."] {
        let linked = || Forgery::new().directory("a/").symlink("link", target);
        linked()
            .file("link/x")
            .refused("link/x", Refusal::ThroughSymlink);
        linked()
            .directory("link/x")
            .refused("link/x", Refusal::ThroughSymlink);
        linked()
            .symlink("link/x", "y")
            .refused("link/x", Refusal::ThroughSymlink);
        linked()
            .file("link/a/x")
            .refused("link/a/x", Refusal::ThroughSymlink);
        linked()
            .hard_link("x", "link/canary")
            .refused("x", Refusal::ThroughSymlink);
        // Nor replaced by what it hides.
        linked().file("link").refused("link", Refusal::Repeated);
        linked()
            .directory("link")
            .refused("link", Refusal::Repeated);
    }
    let linked = Forgery::new().symlink("link", "../outside/canary");
    linked.file("link").refused("link", Refusal::Repeated);
}

#[test]
fn entries_that_occur_twice_are_refused() {
    Forgery::new()
        .file("a")
        .file("a")
        .refused("a", Refusal::Repeated);
    Forgery::new()
        .file("a")
        .file("./a")
        .refused("a", Refusal::Repeated);
    Forgery::new()
        .file("a")
        .directory("a")
        .refused("a", Refusal::Repeated);
    Forgery::new()
        .directory("a")
        .directory("a")
        .refused("a", Refusal::Repeated);
    Forgery::new()
        .directory("a")
        .file("a")
        .refused("a", Refusal::Repeated);
    Forgery::new()
        .file("a")
        .symlink("a", "b")
        .refused("a", Refusal::Repeated);
    Forgery::new()
        .file("a")
        .hard_link("a", "a")
        .refused("a", Refusal::Repeated);
    Forgery::new().directory(".").refused("", Refusal::Repeated);
}

#[test]
fn entries_without_their_directory_are_refused() {
    Forgery::new()
        .file("a/b")
        .refused("a/b", Refusal::NoDirectory);
    Forgery::new()
        .file("a")
        .file("a/b")
        .refused("a/b", Refusal::NoDirectory);
    Forgery::new()
        .hard_link("b", "a/c")
        .refused("b", Refusal::NoDirectory);
}

#[test]
fn hard_links_lead_only_to_restored_files() {
    Forgery::new()
        .hard_link("b", "a")
        .refused("b", Refusal::LinkTarget);
    Forgery::new()
        .directory("a")
        .hard_link("b", "a")
        .refused("b", Refusal::LinkTarget);
    let linked = Forgery::new().symlink("a", "../outside/canary");
    linked.hard_link("b", "a").refused("b", Refusal::LinkTarget);
    Forgery::new()
        .hard_link("b", "")
        .refused("b", Refusal::BadPath);
}

#[test]
fn devices_and_other_kinds_are_refused() {
    for kind in [
        EntryType::Block,
        EntryType::Char,
        EntryType::Continuous,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'V'),
    ] {
        Forgery::new()
            .entry(kind, "x", "", b"")
            .refused("x", Refusal::Kind);
    }
}

#[test]
fn names_that_are_none_are_refused() {
    Forgery::new().file("").refused("", Refusal::BadPath);
    Forgery::new().file("./").refused("", Refusal::BadPath);
    Forgery::new()
        .symlink("a", "")
        .refused("a", Refusal::BadPath);
    let zero = Forgery::new().entry(EntryType::GNULongName, "", "", b"a\0b\0");
    zero.file("innocent").refused("a\0b", Refusal::BadPath);
    let zero = Forgery::new().entry(EntryType::GNULongLink, "", "", b"a\0b\0");
    zero.symlink("link", "innocent")
        .refused("link", Refusal::BadPath);
}

#[test]
fn extensions_that_change_what_an_entry_is_are_refused() {
    let global = Forgery::new().entry(EntryType::XGlobalHeader, "g", "", b"11 mtime=1\n");
    global.file("a").refused("g", Refusal::Extension);
    let path = Forgery::new().entry(EntryType::XHeader, "x", "", b"12 path=abc\n");
    path.file("a").refused("x", Refusal::Extension);
    let twice = Forgery::new().entry(EntryType::GNULongName, "l", "", b"a");
    let twice = twice.entry(EntryType::GNULongName, "l", "", b"b");
    twice.file("a").refused("l", Refusal::Extension);
    let huge = Forgery::new().entry(EntryType::GNULongName, "l", "", &[b'a'; (1 << 20) + 1]);
    huge.file("a").refused("l", Refusal::TooLong);
    let time = Forgery::new().entry(EntryType::XHeader, "x", "", b"13 mtime=abc\n");
    time.file("a").refused("x", Refusal::BadTime);
    let late = |header: &mut Header| header.set_mtime(u64::MAX);
    let late = Forgery::new().change(EntryType::Regular, "a", "", b"", late);
    late.refused("a", Refusal::BadTime);
}

#[test]
fn an_extension_without_its_entry_and_impossible_sizes_are_damage() {
    let alone = Forgery::new().entry(EntryType::GNULongName, "l", "", b"a");
    assert!(matches!(
        alone.restore(&Desk::new()),
        Err(Error::Damaged(_))
    ));
    for size in [2048, 1 << 40, u64::MAX, u64::MAX - 511] {
        let large = |header: &mut Header| header.set_size(size);
        let large = Forgery::new().change(EntryType::Regular, "a", "", b"", large);
        let desk = Desk::new();
        assert!(
            matches!(large.restore(&desk), Err(Error::Damaged(_))),
            "{size}"
        );
        assert_eq!(desk.names(), ["store"]);
    }
}

#[test]
fn rights_of_another_owner_are_not_restored() {
    let desk = Desk::new();
    let foreign = |mode| {
        move |header: &mut Header| {
            header.set_uid(54_321);
            header.set_mode(mode);
        }
    };
    let forgery = Forgery::new()
        .change(EntryType::Regular, "user", "", b"", foreign(0o104755))
        .change(EntryType::Regular, "group", "", b"", foreign(0o2711))
        .change(EntryType::Regular, "plain", "", b"", foreign(0o1644));
    let restored = forgery.restore(&desk).unwrap();
    let gaps: Vec<_> = restored
        .contents
        .gaps
        .iter()
        .map(|it| (&*it.path, it.reason))
        .collect();
    assert_eq!(
        gaps,
        [("user", Reason::Privilege), ("group", Reason::Privilege)]
    );
    let target = tree(&desk.path("target"));
    let mode = |name: &str| target[std::path::Path::new(name)].mode & 0o7777;
    assert_eq!(
        (mode("user"), mode("group"), mode("plain")),
        (0o755, 0o711, 0o1644)
    );
}

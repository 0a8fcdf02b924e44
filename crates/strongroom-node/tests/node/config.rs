//! Settings that are wrong: each is refused before anything is served, in words that name it.

use crate::common::{Server, founders, plan};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use strongroom_node::genesis;
use strongroom_node::store::Store;
use strongroom_node::{Config, Limits, Node, NodeError};
use strongroom_wire::encode;

#[track_caller]
fn refused(config: &Config, words: &[&str]) {
    let error = Node::open(config).map(|_| ()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_file_that_is_none_or_has_unknown_keys_is_refused_with_its_name_and_line() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("node.toml");
    let missing = Config::read(&path).unwrap_err().to_string();
    assert!(missing.contains("node.toml"), "{missing}");
    let base = "listen = \"127.0.0.1:0\"\ndata = \"x\"\n";
    for (text, word) in [
        (format!("{base}lissten = 1\n"), "lissten"),
        (format!("{base}listen = 2\n"), "listen"),
        ("data = \"x\"\n".to_owned(), "listen"),
        ("listen = \"here\"\ndata = \"x\"\n".to_owned(), "address"),
        ("listen = \n".to_owned(), "line 1"),
        (format!("{base}[peers]\n"), "listen"),
        (
            format!("{base}[peers]\nlisten = \"127.0.0.1:0\"\nadresses = {{}}\n"),
            "adresses",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Config::read(&path).unwrap_err();
        assert!(matches!(error, NodeError::Config(_)));
        let words = error.to_string();
        assert!(
            words.contains("node.toml") && words.contains(word),
            "{words}"
        );
    }
    std::fs::write(&path, base).unwrap();
    assert!(Config::read(&path).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_refused_with_the_file_and_what_to_do() {
    let server = Server::found().await;
    let dir = server.place.path();
    let files = strongroom_node::tls::development(dir).unwrap();
    let with = |certificate: Option<PathBuf>, key: Option<PathBuf>| Config {
        certificate,
        key,
        ..server.config.clone()
    };
    let (good, key) = (files.certificate.clone(), files.key.clone());
    let nowhere = dir.join("nowhere.pem");
    let empty = dir.join("empty.pem");
    std::fs::write(&empty, "no PEM in here\n").unwrap();
    let both = ["certificate", "key", "node.toml"];
    refused(&with(Some(good.clone()), None), &both);
    refused(&with(None, Some(key.clone())), &both);
    refused(
        &with(Some(nowhere.clone()), Some(key.clone())),
        &["nowhere.pem", "node.toml"],
    );
    refused(
        &with(Some(good.clone()), Some(nowhere)),
        &["nowhere.pem", "node.toml"],
    );
    refused(
        &with(Some(empty.clone()), Some(key.clone())),
        &["empty.pem"],
    );
    refused(&with(Some(good.clone()), Some(empty)), &["empty.pem"]);
    // The key of another certificate.
    refused(
        &with(Some(dir.join("ca.pem")), Some(key.clone())),
        &["ca.pem"],
    );
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its own key is nobody else's to read");
    assert!(Node::open(&with(Some(good), Some(key))).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_or_a_directory_in_use_is_named() {
    let server = Server::found().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config {
        listen: address,
        ..server.config.clone()
    };
    refused(&config, &[&address.to_string(), "listen"]);
    let store = strongroom_node::store::Store::open(&server.config.store_dir()).unwrap();
    let dir = server.config.store_dir().display().to_string();
    refused(&server.config, &[&dir, "in use", "another"]);
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_hsm_program_is_named() {
    let server = Server::found().await;
    let nowhere = server
        .place
        .path()
        .join("no-such-hsm")
        .display()
        .to_string();
    let not_a_program = server.config.hsm_dir().display().to_string();
    for program in [
        nowhere,
        not_a_program,
        "strongroom-no-such-program".to_owned(),
    ] {
        let config = Config {
            hsm: Some(vec![program.clone()]),
            ..server.config.clone()
        };
        refused(&config, &[&program, "strongroom-hsm", "`hsm`"]);
    }
    let config = Config {
        hsm: Some(Vec::new()),
        ..server.config.clone()
    };
    refused(&config, &["hsm", "missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_a_fleet_says_how_to_begin_one() {
    let server = Server::found().await;
    let config = Config {
        data: server.place.path().join("elsewhere"),
        ..server.config.clone()
    };
    refused(&config, &["no fleet", "strongroom dev"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hsm_and_a_store_that_do_not_belong_together_are_both_named() {
    let mut server = Server::found().await;
    let other = Server::found().await;
    std::fs::remove_dir_all(server.config.hsm_dir()).unwrap();
    std::fs::rename(other.config.hsm_dir(), server.config.hsm_dir()).unwrap();
    server.run(Limits::default()).await;
    let error = server.ended().await.unwrap_err().to_string();
    let (hsm, store) = (server.config.hsm_dir(), server.config.store_dir());
    for name in [hsm, store] {
        assert!(error.contains(&name.display().to_string()), "{error}");
    }
    assert!(error.contains("not a member"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_beyond_what_the_hsm_holds_are_refused() {
    let server = Server::found().await;
    let limits = Limits {
        starts: 2_000,
        ..Limits::default()
    };
    let error = Node::open_with(&server.config, limits)
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("2048"), "{error}");
}

#[tokio::test]
async fn a_founding_cut_short_after_the_hsm_began_goes_on_with_the_same_fleet() {
    let server = Server::found().await;
    let config = server.config.clone();
    // The cut: the HSM has its fleet, the store has what was put down before, and no more.
    let store = config.store_dir();
    let bundle = Store::open(&store).unwrap().bundle().unwrap().unwrap();
    std::fs::remove_dir_all(&store).unwrap();
    let begun = Store::open(&store).unwrap();
    begun.begin_founding(&bundle).unwrap();
    drop(begun);
    let members = std::slice::from_ref(&config);
    let again = genesis::found(members, &founders(), plan()).await;
    assert_eq!(encode(&again.unwrap()), bundle);
    let store = Store::open(&store).unwrap();
    assert!(store.founding().unwrap().is_none());
    assert_eq!(store.standing().unwrap().unwrap().header.index.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_another_key_than_the_manifest_names_is_no_member() {
    let server = Server::found().await;
    let dir = server.config.host_key_dir();
    std::fs::remove_dir_all(&dir).unwrap();
    let dir = dir.display().to_string();
    refused(
        &server.config,
        &[&dir, "no member", "put the right one back"],
    );
}

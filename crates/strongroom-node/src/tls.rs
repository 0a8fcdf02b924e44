//! Certificates: the operator's, or a development authority of this node's own.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where certificate chain and key lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM chain, the node's own first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// Reads chain and key. Key exchange is hybrid (X25519MLKEM768) with every client that prefers it:
/// rustls follows the client's order. The envelope is sealed to the HSM with a hybrid of its own in
/// any case; the admission token is not.
///
/// # Errors
/// In words, with the file's name.
pub fn server_config(files: &Files) -> Result<Arc<ServerConfig>, String> {
    let said = |path: &Path, error: &dyn std::fmt::Display| {
        format!(
            "{}: {error}; see `certificate` and `key` in node.toml",
            path.display()
        )
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| said(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(said(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| said(&files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| said(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Makes (once) an authority and a certificate for `localhost` in a directory. Clients trust
/// `ca.pem`.
///
/// # Errors
/// In words.
pub fn development(dir: &Path) -> Result<Files, String> {
    let files = Files {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    if files.certificate.exists() && files.key.exists() && dir.join("ca.pem").exists() {
        return Ok(files);
    }
    let failed = |e: rcgen::Error| format!("cannot make a development certificate: {e}");
    let authority_key = KeyPair::generate().map_err(failed)?;
    let mut authority = CertificateParams::new(Vec::new()).map_err(failed)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Of different names, or OpenSSL takes the server's certificate for one that signed itself.
    let name = "Strongroom development authority";
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, name);
    let authority_certificate = authority.self_signed(&authority_key).map_err(failed)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().map_err(failed)?;
    let names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let mut server = CertificateParams::new(names).map_err(failed)?;
    server.distinguished_name = DistinguishedName::new();
    server
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    let server = server.signed_by(&key, &issuer).map_err(failed)?;
    let write = |path: &Path, text: &str| {
        write_private(path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    write(&dir.join("ca.pem"), &authority_certificate.pem())?;
    write(&files.key, &key.serialize_pem())?;
    write(&files.certificate, &server.pem())?;
    Ok(files)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

//! Certificates: the operator's, or a development authority of this node's own.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};

/// Where certificate chain and key lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM chain, the node's own first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
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
    let authority_certificate = authority.self_signed(&authority_key).map_err(failed)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().map_err(failed)?;
    let names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let server = CertificateParams::new(names).map_err(failed)?;
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

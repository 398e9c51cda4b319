//! TLS of the HTTP API.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Returns the acceptor of encrypted connections. `None`: no certificate is configured.
///
/// # Errors
/// An error if a file cannot be read, or if the key does not belong to the certificate. The error
/// contains the names of the files and never their contents.
pub fn tls(cert: &str, key: &str) -> anyhow::Result<Option<TlsAcceptor>> {
    if cert.is_empty() {
        return Ok(None);
    }
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain: Vec<_> = chain.with_context(|| format!("server.tls.cert {cert}"))?;
    anyhow::ensure!(!chain.is_empty(), "server.tls.cert {cert} contains no PEM certificate");
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| format!("server.tls.key {key}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions?.with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.with_context(|| format!("server.tls: {cert} and {key}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

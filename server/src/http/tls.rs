//! TLS for the front: the certificate that it shows.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What accepts encrypted connections; `None` where no certificate is named.
///
/// # Errors
/// When a file cannot be read, or certificate and key do not belong together. The text holds the files' names, never what is in them.
pub fn tls(cert: &str, key: &str) -> anyhow::Result<Option<TlsAcceptor>> {
    if cert.is_empty() {
        return Ok(None);
    }
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain: Vec<_> = chain.with_context(|| format!("server.tls.cert {cert}"))?;
    anyhow::ensure!(!chain.is_empty(), "server.tls.cert {cert} holds no certificate in PEM form");
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| format!("server.tls.key {key}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions?.with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.with_context(|| format!("server.tls: {cert} and {key}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

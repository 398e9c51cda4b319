//! TLS, by rustls with ring.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Error, Tls};

/// Opens TLS streams.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    /// Reads the files of the settings.
    pub fn new(tls: &Tls) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|why| Error::Config(format!("TLS: {why}")))?;
        let builder = if let Some(file) = &tls.ca_file {
            builder.with_root_certificates(authorities(file)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        };
        let config = if let Some((certificate, key)) = &tls.client_certificate {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(|why| {
                Error::Config(format!("client certificate {}: {why}", certificate.display()))
            })?
        } else {
            builder.with_no_client_auth()
        };
        let server_name = tls.server_name.as_deref().map(name).transpose()?;
        Ok(Self { tls: Arc::new(config).into(), server_name })
    }

    /// Performs the handshake. `host` is the host of the address.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => name(host).map_err(|why| std::io::Error::other(why.to_string()))?,
        };
        self.tls.connect(server_name, stream).await
    }
}

fn name(host: &str) -> Result<ServerName<'static>, Error> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Config(format!("{host:?} is not a valid TLS server name")))
}

fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|why| Error::Config(format!("CA certificate {}: {why}", file.display())))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let invalid = |why: &dyn std::fmt::Display| {
        Error::Config(format!("cannot read certificates of {}: {why}", file.display()))
    };
    let read = CertificateDer::pem_file_iter(file).map_err(|why| invalid(&why))?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|why| invalid(&why))?;
    if read.is_empty() { Err(invalid(&"no certificate found")) } else { Ok(read) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|why| Error::Config(format!("cannot read the private key of {}: {why}", file.display())))
}

/// Accepts every certificate, as the Java client does by default. Signatures are still checked.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

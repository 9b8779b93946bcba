//! What rustls wants to know of either end.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};

use super::TlsError;
use super::authority::{Identity, certificate_der, key_der};

/// The server's certificate, which can be replaced while it serves.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<CertifiedKey>>);

impl Certificates {
    /// Begins with this one.
    ///
    /// # Errors
    /// It is no valid certificate with its key.
    pub fn new(identity: &Identity) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(certified(identity)?))))
    }

    /// From now on this one.
    ///
    /// # Errors
    /// It is no valid certificate with its key; the one before stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), TlsError> {
        let new = certified(identity)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = rustls::crypto::ring::sign::any_supported_type(&key_der(&identity.key)?).map_err(TlsError::Config)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate_der(&identity.certificate)?], key)))
}

/// What an [`Acceptor`](super::Acceptor) needs.
#[derive(Clone)]
pub struct Server {
    pub(super) config: Arc<ServerConfig>,
    /// Says of a certificate that was shown whether it is in date too.
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Server {
    /// Whether a certificate that got through the handshake is in date.
    pub(super) fn in_date(&self, shown: &CertificateDer<'_>) -> bool {
        self.verifier.verify_client_cert(shown, &[], UnixTime::now()).is_ok()
    }
}

/// Takes certificates whose time is over, so that it is known whose it was: the handshake proves that who shows it has its key.
/// All else is as strict as ever.
#[derive(Debug)]
struct EvenOver(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for EvenOver {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.0.verify_client_cert(shown, chain, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                self.0.verify_client_cert(shown, chain, not_after)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// For a server. Clients may show a certificate of the authority whose PEM is given; another one is refused.
///
/// # Errors
/// The authority is none.
pub fn server(certificates: Arc<Certificates>, authority: &str) -> Result<Server, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Config(rustls::Error::General(error.to_string())))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Config)?
        .with_client_cert_verifier(Arc::new(EvenOver(verifier.clone())))
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Server { config: Arc::new(config), verifier })
}

/// For a client that trusts the authority whose PEM is given and nobody else.
///
/// # Errors
/// The authority or the identity is none.
pub fn client(authority: &str, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Config)?
        .with_root_certificates(roots(authority)?);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => config
            .with_client_auth_cert(vec![certificate_der(&identity.certificate)?], key_der(&identity.key)?)
            .map_err(TlsError::Config)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(authority: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate_der(authority)?).map_err(TlsError::Config)?;
    Ok(roots)
}

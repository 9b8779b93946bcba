//! The authority and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::{TlsError, fingerprint};

const DAY: i64 = 24 * 3600;

/// How long the authority itself is valid.
const AUTHORITY_DAYS: i64 = 3650;

/// Clocks of hosts may be slow: a certificate is valid from a little before it was made.
const SLACK: i64 = 2 * 3600;

/// The system's own certificate authority.
pub struct Authority {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, for one end of a connection.
pub struct Identity {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The private key, in PEM.
    pub key: String,
}

/// A request for a certificate, and the key that stays here.
pub struct Request {
    /// The request, in PEM.
    pub request: String,
    /// The private key, in PEM.
    pub key: String,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate, in PEM.
    pub certificate: String,
    /// See [`fingerprint`].
    pub fingerprint: String,
    /// When it ends.
    pub not_after: i64,
}

impl Authority {
    /// Makes one for a system of this name.
    ///
    /// # Errors
    /// There is no randomness, or `now` is no time.
    pub fn create(system: &str, now: i64) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(make("make a key"))?;
        let mut params = named(&format!("Greenroom {system}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        dated(&mut params, now, AUTHORITY_DAYS * DAY)?;
        let certificate = params.self_signed(&key).map_err(make("make the authority"))?.pem();
        Self::load(certificate, key.serialize_pem())
    }

    /// Takes one from its PEM texts.
    ///
    /// # Errors
    /// They are none.
    pub fn load(certificate: String, key: String) -> Result<Self, TlsError> {
        let pair = KeyPair::from_pem(&key).map_err(make("read the authority's key"))?;
        let der = certificate_der(&certificate)?;
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(make("read the authority"))?;
        Ok(Self { certificate, key, der, issuer })
    }

    /// Its certificate, in PEM: what everybody has to know.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, in PEM.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// See [`fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// A certificate with a new key for a server that is reached by these names and addresses.
    ///
    /// # Errors
    /// One of them is neither, or `now` is no time.
    pub fn server(&self, names: &[String], now: i64, lifetime: i64) -> Result<Identity, TlsError> {
        let key = KeyPair::generate().map_err(make("make a key"))?;
        let mut params =
            CertificateParams::new(names.to_vec()).map_err(make("make a certificate for the server's names"))?;
        params.distinguished_name = common_name("Greenroom control plane");
        leaf(&mut params, ExtendedKeyUsagePurpose::ServerAuth);
        dated(&mut params, now, lifetime)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(make("sign the server's certificate"))?;
        Ok(Identity { certificate: signed.pem(), key: key.serialize_pem() })
    }

    /// Signs a client's request. The name in the certificate is `client`, whatever the request says.
    ///
    /// # Errors
    /// The request is none, or is not signed with its own key.
    pub fn sign(&self, request: &str, client: &str, now: i64, lifetime: i64) -> Result<Signed, TlsError> {
        let asked = CertificateSigningRequestParams::from_pem(request).map_err(make("read the signing request"))?;
        // Nothing of what it asks for is taken over, but for its key.
        let mut params = named(client);
        leaf(&mut params, ExtendedKeyUsagePurpose::ClientAuth);
        dated(&mut params, now, lifetime)?;
        let signed = params.signed_by(&asked.public_key, &self.issuer).map_err(make("sign the certificate"))?;
        let not_after = now.saturating_add(lifetime);
        Ok(Signed { fingerprint: fingerprint(signed.der()), certificate: signed.pem(), not_after })
    }
}

/// A new key and a request for a certificate for it.
///
/// # Errors
/// There is no randomness.
pub fn request(client: &str) -> Result<Request, TlsError> {
    let key = KeyPair::generate().map_err(make("make a key"))?;
    let request = named(client).serialize_request(&key).map_err(make("make a signing request"))?;
    let request = request.pem().map_err(make("make a signing request"))?;
    Ok(Request { request, key: key.serialize_pem() })
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params
}

/// What RFC 5280 asks of a certificate that signs no others. Strict clients, as Python is since 3.13, refuse one that does not say by which key
/// it was signed.
fn leaf(params: &mut CertificateParams, usage: ExtendedKeyUsagePurpose) {
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
}

fn common_name(name: &str) -> DistinguishedName {
    let mut out = DistinguishedName::new();
    out.push(DnType::CommonName, name);
    out
}

fn dated(params: &mut CertificateParams, now: i64, lifetime: i64) -> Result<(), TlsError> {
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| TlsError::Time(seconds));
    params.not_before = at(now.saturating_sub(SLACK))?;
    params.not_after = at(now.saturating_add(lifetime))?;
    Ok(())
}

fn make(what: &'static str) -> impl Fn(rcgen::Error) -> TlsError {
    move |source| TlsError::Make { what, source }
}

pub(super) fn certificate_der(pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsError::Pem { what: "the certificate" })
}

pub(super) fn key_der(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsError::Pem { what: "the private key" })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn certificates_are_as_strict_clients_want_them() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let authority = Authority::create("test", now).unwrap();
        let server = authority.server(&["plane.example".to_owned(), "192.0.2.1".to_owned()], now, DAY).unwrap();
        let asked = request("web1").unwrap();
        let client = authority.sign(&asked.request, "web1", now, DAY).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let root = file("root", authority.certificate());
        for (purpose, certificate) in [("sslserver", &server.certificate), ("sslclient", &client.certificate)] {
            let leaf = file(purpose, certificate);
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]).args([&root, &leaf]);
            let out = openssl.output().unwrap();
            assert!(out.status.success(), "{purpose}: {}", String::from_utf8_lossy(&out.stderr));
        }
    }
}

//! TLS to an application, and what its failures mean.

use std::{fmt::Display, io, path::Path, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::{
    super::{Problem, ProblemKind, problem::quote},
    Settings, settings,
};

/// Greets the application at `host`, whose certificate must be signed by the authority
/// of the settings.
pub(in crate::source) async fn connect(
    stream: TcpStream,
    host: &str,
) -> Result<TlsStream<TcpStream>, Problem> {
    let settings = settings();
    let config = config(settings)?;
    let name = settings.name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        let what = format!("`{}` is no name that a certificate has", quote(name));
        Problem::new(ProblemKind::Tls, what, "LOOPTOP_TLS_NAME sets another")
    })?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| {
        // What breaks the connection is no matter of certificates, and may pass.
        let (kind, what, advice) = match sentence(&error) {
            Some((what, advice)) => (ProblemKind::Tls, what, advice),
            None => (
                ProblemKind::Io,
                format!("TLS was not agreed upon: {error}"),
                NO_TLS,
            ),
        };
        Problem::new(kind, format!("{host}: {what}"), advice)
    })
}

const NO_TLS: &str = "does the application encrypt its port (LOOPTOP_TLS_CERT)?";

fn config(settings: &Settings) -> Result<ClientConfig, Problem> {
    let Some(authority) = &settings.authority else {
        return Err(Problem::new(
            ProblemKind::Tls,
            "https:// needs the certificate of whoever signed the application's",
            "LOOPTOP_TLS_CA or `tls_ca` of the configuration names its file",
        ));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(authority, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(authority, &error))?
        .with_root_certificates(roots);
    let mut config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| unusable(certificate, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, error: &dyn Display) -> Problem {
    Problem::new(
        ProblemKind::Tls,
        format!("{} cannot be used for TLS: {error}", path.display()),
        "it must be a file in PEM",
    )
}

/// What a failure of TLS means, and what to do about it; `None` where it is another.
pub(in crate::source) fn sentence(error: &io::Error) -> Option<(String, &'static str)> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(meaning(error))
}

fn meaning(error: &Error) -> (String, &'static str) {
    use AlertDescription as Alert;
    use CertificateError as Bad;
    let (what, advice) = match error {
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => (
            "the application's certificate has expired",
            "renew it (LOOPTOP_TLS_CERT), or correct the clock",
        ),
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => (
            "the application's certificate is for another name",
            "attach by that name, or set LOOPTOP_TLS_NAME to it",
        ),
        Error::InvalidCertificate(Bad::UnknownIssuer) => (
            "the application's certificate is not signed by whom LOOPTOP_TLS_CA names",
            "is it the right application, and the right file?",
        ),
        Error::AlertReceived(Alert::CertificateRequired) => (
            "the application wants a certificate of the viewer",
            "LOOPTOP_TLS_CLIENT_CERT and LOOPTOP_TLS_CLIENT_KEY name its files",
        ),
        Error::AlertReceived(Alert::CertificateExpired) => (
            "the viewer's certificate has expired",
            "renew it (LOOPTOP_TLS_CLIENT_CERT)",
        ),
        Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::DecryptError
            | Alert::CertificateUnknown,
        ) => (
            "the application does not trust the viewer's certificate",
            "it must be signed by whom its LOOPTOP_TLS_CLIENT_CA names",
        ),
        Error::InvalidMessage(_) => ("the answer is not TLS", NO_TLS),
        other => return (format!("TLS was not agreed upon: {other}"), NO_TLS),
    };
    (what.to_owned(), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_is_wrong_with_which_certificate() {
        for (error, part) in [
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "certificate has expired",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "for another name",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "not signed by",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "wants a certificate",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "does not trust",
            ),
        ] {
            let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
            let (what, advice) = sentence(&wrapped).unwrap();
            assert!(what.contains(part) && !advice.is_empty(), "{what}");
        }
        assert_eq!(sentence(&io::ErrorKind::InvalidData.into()), None);
    }
}

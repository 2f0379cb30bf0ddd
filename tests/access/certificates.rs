//! Certificates for tests, made anew: an authority, and what it has signed.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

/// Files in a folder: `authority.pem`, `foreign.pem` of an authority that nobody trusts,
/// and for each end `NAME.pem` and `NAME.key`.
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Self {
        let made = Self {
            folder: folder.to_owned(),
        };
        let authority = made.authority("authority");
        let foreign = made.authority("foreign");
        made.end("app", "127.0.0.1", &authority, false);
        made.end("other", "another.example", &authority, false);
        made.end("viewer", "viewer.example", &authority, false);
        made.end("expired", "127.0.0.1", &authority, true);
        made.end("foreigner", "viewer.example", &foreign, false);
        made
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params(Vec::new(), name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        self.write(&format!("{name}.pem"), &issuer.pem());
        issuer
    }

    fn end(
        &self,
        name: &str,
        subject: &str,
        authority: &CertifiedIssuer<'static, KeyPair>,
        expired: bool,
    ) {
        let mut params = params(vec![subject.to_owned()], name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// A file that every user may read: they are of this test alone.
    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// Of somebody with this name: authorities of one name are taken for each other.
fn params(subjects: Vec<String>, name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(subjects).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

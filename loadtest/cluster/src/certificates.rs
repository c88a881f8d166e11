//! Certificates for servers that tests start, by an authority that nobody else has.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An authority, and what a server on the loopback proves itself with; made for one test.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The authority's certificate: what a client has to trust.
    pub authority: PathBuf,
    /// The server's.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Makes them in this directory, with `openssl`. The server is called so: `IP:127.0.0.1,DNS:localhost`.
    ///
    /// # Errors
    /// When there is no `openssl`, or the directory cannot be written to.
    pub fn make(directory: &Path, subject_alternative_names: &str) -> io::Result<Self> {
        let at = |name: &str| directory.join(name);
        let files = Self { authority: at("authority.crt"), certificate: at("server.crt"), key: at("server.key") };
        let (authority_key, request, extensions) = (at("authority.key"), at("server.csr"), at("extensions"));
        let names = format!("subjectAltName={subject_alternative_names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(&extensions, names)?;
        let openssl = |words: &str, paths: &[(&str, &Path)]| {
            let mut command = Command::new("openssl");
            command.args(words.split(' ')).stdin(Stdio::null());
            for (option, path) in paths {
                command.arg(option).arg(path);
            }
            let output = command.output()?;
            let told = || String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("openssl {words}: {}", told()))) }
        };
        openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hallway-test-authority",
            &[("-keyout", &authority_key), ("-out", &files.authority)],
        )?;
        openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost", &[("-keyout", &files.key), ("-out", &request)])?;
        openssl(
            "x509 -req -days 2 -CAcreateserial",
            &[
                ("-in", &request),
                ("-CA", &files.authority),
                ("-CAkey", &authority_key),
                ("-extfile", &extensions),
                ("-out", &files.certificate),
            ],
        )?;
        Ok(files)
    }
}

//! Where a remote is: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///folder`.
//!
//! Unaware of how it is reached. An address holds no secrets: those come from the environment.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::error::Reason;

/// Whose protocol a remote speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Amazon S3, and everything that is compatible with it.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
    /// A folder, such as one on a shared file system.
    File,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Scheme::S3, Scheme::Gs, Scheme::Az, Scheme::File];

    fn name(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
            Scheme::File => "file",
        }
    }

    /// The environment variables that say who one is there.
    pub fn credentials(self) -> &'static str {
        match self {
            Scheme::S3 => {
                "set `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION`, for a server of another maker also \
                 `AWS_ENDPOINT_URL`"
            }
            Scheme::Gs => "set `GOOGLE_APPLICATION_CREDENTIALS` to the file of a service account",
            Scheme::Az => {
                "set `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_TOKEN`"
            }
            Scheme::File => "look at the rights of the folder",
        }
    }
}

/// The address of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub scheme: Scheme,
    /// The bucket or container; empty for a folder.
    pub bucket: String,
    /// What all names there start with: parts with `/` between them, or the absolute folder without its
    /// first `/`.
    pub prefix: String,
}

impl Address {
    /// Reads an address. One that may hold a secret is never repeated.
    pub fn parse(text: &str) -> Result<Address, Reason> {
        let wrong = |what: &str| Err(Reason::Address(what.to_string()));
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong(&format!("`{}` does not say what it is", text.split(['@', '?']).next().unwrap_or_default()));
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.name() == scheme) else {
            return wrong(&format!("`{scheme}://` is not known"));
        };
        if rest.contains(['?', '#']) || (scheme != Scheme::File && rest.contains('@')) {
            return wrong("it holds more than a place; who you are comes from the environment");
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket_is_right = bucket.is_empty() == (scheme == Scheme::File);
        if !bucket_is_right || (scheme == Scheme::File && prefix.is_empty()) {
            return wrong(&format!(
                "`{text}` names no {}",
                if scheme == Scheme::File { "absolute folder" } else { "bucket" }
            ));
        }
        let prefix = match scheme {
            Scheme::File => percent_decode_str(prefix).decode_utf8_lossy().into_owned(),
            _ => prefix.to_string(),
        };
        let prefix = prefix.trim_end_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..") || (part.is_empty() && !prefix.is_empty())) {
            return wrong(&format!("a part of `{text}` is empty or leads up"));
        }
        Ok(Address { scheme, bucket: bucket.to_string(), prefix: prefix.to_string() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { scheme, bucket, prefix } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(to, "{}://{bucket}{slash}{prefix}", scheme.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_bucket_and_a_prefix() {
        for text in ["s3://b", "s3://b/a/c", "gs://b/x", "az://c/x", "file:///tmp/x"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("s3://b/x/").unwrap().prefix, "x");
        assert_eq!(Address::parse("file:///tmp/a%20b").unwrap().prefix, "tmp/a b");
    }

    #[test]
    fn what_is_no_address_is_refused_and_secrets_are_not_repeated() {
        for text in ["bucket", "ftp://b/x", "s3:///x", "s3://", "file://x/y", "file:///", "s3://b/../c", "s3://b//c"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        for text in ["s3://me:geheim@b/x", "az://c/x?sig=geheim", "me:geheim@b?sig=geheim"] {
            let told = format!("{:?}", Address::parse(text).unwrap_err());
            assert!(!told.contains("sig") && !told.contains("geheim@"), "{told}");
        }
    }
}

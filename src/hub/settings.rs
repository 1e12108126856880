//! What the environment says: where the Hub is, where its cache is, and who asks.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::Cache;

use super::name::Name;

const ENDPOINT: &str = "https://huggingface.co";

/// The settings, by the names and with the defaults of the Python tools.
#[derive(Clone)]
pub(super) struct Settings {
    /// Without a slash at its end.
    pub endpoint: String,
    /// The cache, which other programs use too.
    pub cache: PathBuf,
    pub token: Option<Token>,
    /// Whether nobody may be asked.
    pub offline: bool,
}

/// An access token. Its text goes into requests and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// A token, if the text can be one.
    fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_graphic();
        (!text.is_empty() && text.chars().all(fits)).then(|| Token(text.to_string()))
    }

    /// The text, for a request.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Settings {
    pub fn from_environment() -> Settings {
        Settings::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Settings {
        let home = || variable("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let caches = || variable("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
        let own = variable("HF_HOME").map_or_else(|| caches().join("huggingface"), PathBuf::from);
        let cache = variable("HF_HUB_CACHE").map_or_else(|| own.join("hub"), PathBuf::from);
        let cache = std::path::absolute(&cache).unwrap_or(cache);
        let file = variable("HF_TOKEN_PATH").map_or_else(|| own.join("token"), PathBuf::from);
        let stored = || fs::read_to_string(file).ok();
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_string());
        let is_true = |value: String| matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true");
        Settings {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache,
            token: variable("HF_TOKEN").or_else(stored).as_deref().and_then(Token::new),
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_true),
        }
    }

    /// The folder of a repository in the cache.
    pub fn repository(&self, name: &Name) -> PathBuf {
        self.cache.join(name.repo().folder_name())
    }

    /// The folder where the files of a commit lie under their names.
    pub fn snapshot(&self, name: &Name, commit: &str) -> PathBuf {
        Cache::new(self.cache.clone()).repo(name.repo()).pointer_path(commit)
    }

    /// The file with the content of this digest.
    pub fn blob(&self, name: &Name, digest: &str) -> PathBuf {
        Cache::new(self.cache.clone()).repo(name.repo()).blob_path(digest)
    }

    /// The file that is locked while a blob is written, where the Python tools lock too.
    pub fn lock(&self, name: &Name, digest: &str) -> PathBuf {
        self.cache.join(".locks").join(name.repo().folder_name()).join(format!("{digest}.lock"))
    }

    /// Notes for other programs that the revision is at this commit.
    pub fn set_branch(&self, name: &Name, commit: &str) -> std::io::Result<()> {
        Cache::new(self.cache.clone()).repo(name.repo()).create_ref(commit)
    }

    /// Where other programs note the commit of a branch.
    pub fn branch_file(&self, name: &Name) -> PathBuf {
        self.repository(name).join("refs").join(Path::new(&name.revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Settings::from_variables(find)
    }

    #[test]
    fn the_cache_is_where_the_python_tools_have_it() {
        let cache = |variables| settings(variables).cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[("HF_HOME", "/f")]), "/f/hub");
        assert_eq!(cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        let settings = settings(&[("HF_HOME", "/f")]);
        let name = Name::parse("hf://datasets/a/b@v1").unwrap();
        let repository = "/f/hub/datasets--a--b";
        assert_eq!(settings.blob(&name, "0f"), Path::new(repository).join("blobs/0f"));
        assert_eq!(settings.snapshot(&name, "1c"), Path::new(repository).join("snapshots/1c"));
        assert_eq!(settings.branch_file(&name), Path::new(repository).join("refs/v1"));
    }

    #[test]
    fn a_token_is_of_the_environment_or_of_a_file_and_is_not_shown() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_stored\n").unwrap();
        let home = home.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| settings(variables).token;
        assert_eq!(token(&[("HF_HOME", home)]).unwrap().secret(), "hf_stored");
        let given = token(&[("HF_HOME", home), ("HF_TOKEN", "hf_given")]).unwrap();
        assert_eq!((given.secret(), format!("{given:?}").as_str()), ("hf_given", "Token(…)"));
        assert_eq!(token(&[("HF_HOME", "/nowhere"), ("HF_TOKEN", "two\nlines")]), None);
    }

    #[test]
    fn offline_is_said_in_the_ways_that_the_python_tools_know() {
        for (value, offline) in [("1", true), ("YES", true), ("True", true), ("0", false), ("no", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
    }
}

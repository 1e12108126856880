//! `hf://` values in their parts.

use std::path::{Component, Path};

use hf_hub::{Repo, RepoType};

use super::error::Reason;

pub(super) const SCHEME: &str = "hf://";
const DATASETS: &str = "datasets";
/// The branch that a value without a revision means.
const MAIN: &str = "main";

/// A value of the Hub. Every part is safe to use in an address and in a path of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The whole value.
    pub written: String,
    /// Whether it is a dataset; else it is a checkpoint.
    pub dataset: bool,
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// A folder or file in the repository, with `/` between its parts; empty for all of it.
    pub path: String,
}

impl Name {
    pub fn parse(value: &str) -> Result<Name, Reason> {
        let wrong = |what: &'static str| Reason::Malformed(what);
        let rest = value.strip_prefix(SCHEME).ok_or(wrong("it does not start with `hf://`"))?;
        let mut parts = rest.split('/').peekable();
        let dataset = parts.next_if_eq(&DATASETS).is_some();
        let (Some(owner), Some(second)) = (parts.next(), parts.next()) else {
            return Err(wrong("it has no owner or no name"));
        };
        let (name, revision) = match second.split_once('@') {
            None => (second, MAIN.to_string()),
            // Git keeps pull requests and conversions outside of the branches, with `/` in their names.
            Some((name, "refs")) => {
                let (kind, which) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                (name, format!("refs/{kind}/{which}"))
            }
            Some((name, revision)) => (name, revision.replace("%2F", "/").replace("%2f", "/")),
        };
        let is_word = |word: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !word.is_empty() && word.chars().all(fits) && !word.starts_with('.') && !word.contains("--")
        };
        if !is_word(owner) || !is_word(name) {
            return Err(wrong("owner and name are made of letters, digits, `-`, `_` and `.`"));
        }
        let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"\\?*[]:^~#%@".contains(c);
        if !is_inside(&revision) || !revision.chars().all(fits) {
            return Err(wrong("what follows `@` is no branch, tag or commit"));
        }
        let path = parts.collect::<Vec<_>>().join("/");
        let path = path.trim_end_matches('/').to_string();
        if !path.is_empty() && !is_inside(&path) {
            return Err(wrong("its path leaves the repository"));
        }
        Ok(Name { written: value.to_string(), dataset, repository: format!("{owner}/{name}"), revision, path })
    }

    /// Whether the revision is a whole commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_hex(&self.revision, 40)
    }

    /// The repository at its revision.
    pub fn repo(&self) -> Repo {
        self.repo_at(&self.revision)
    }

    /// The repository at another revision.
    pub fn repo_at(&self, revision: &str) -> Repo {
        let kind = if self.dataset { RepoType::Dataset } else { RepoType::Model };
        Repo::with_revision(self.repository.clone(), kind, revision.to_string())
    }
}

/// Whether a path with `/` between its parts stays below where it starts.
pub(super) fn is_inside(path: &str) -> bool {
    let normal = |component: Component<'_>| matches!(component, Component::Normal(_));
    !path.is_empty()
        && !path.contains("//")
        && !path.ends_with('/')
        && !path.contains('\0')
        && Path::new(path).components().all(normal)
}

/// Whether a text is `digits` lowercase hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str) -> (bool, String, String, String) {
        let name = Name::parse(value).unwrap();
        (name.dataset, name.repository, name.revision, name.path)
    }

    fn told(dataset: bool, repository: &str, revision: &str, path: &str) -> (bool, String, String, String) {
        (dataset, repository.into(), revision.into(), path.into())
    }

    #[test]
    fn a_value_is_a_repository_with_a_revision_and_a_path() {
        assert_eq!(parts("hf://llava-hf/llava-1.5-7b-hf"), told(false, "llava-hf/llava-1.5-7b-hf", "main", ""));
        assert_eq!(parts("hf://datasets/a/b@v1.0/deep/c.json"), told(true, "a/b", "v1.0", "deep/c.json"));
        assert_eq!(parts("hf://a/b/adapter/"), told(false, "a/b", "main", "adapter"));
        assert_eq!(parts("hf://a/b@refs/pr/3/x"), told(false, "a/b", "refs/pr/3", "x"));
        assert_eq!(parts("hf://a/b@my%2Fbranch"), told(false, "a/b", "my/branch", ""));
        assert!(Name::parse(&format!("hf://a/b@{}", "0a".repeat(20))).unwrap().is_pinned());
        assert!(!Name::parse("hf://a/b@0a0a0a0").unwrap().is_pinned());
    }

    #[test]
    fn a_value_that_could_lead_elsewhere_is_refused() {
        for value in [
            "hf://gpt2",
            "hf://datasets/only",
            "hf:///b",
            "hf://../b",
            "hf://a/..",
            "hf://a--b/c",
            "hf://a/b@",
            "hf://a/b@../../main",
            "hf://a/b@..%2Fmain",
            "hf://a/b@main?x",
            "hf://a/b@refs/pr",
            "hf://a/b@main/../x",
            "hf://a/b@main//x",
        ] {
            assert!(matches!(Name::parse(value), Err(Reason::Malformed(_))), "{value}");
        }
    }
}

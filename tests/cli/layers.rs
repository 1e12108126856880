//! The table of layers in `src/lib.rs` is true: imports go strictly down it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A row of the table.
struct Layer {
    modules: Vec<String>,
    unaware_of: String,
}

/// The rows between the head and the end of the table, top first.
fn layers(text: &str) -> Vec<Layer> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows = rows.filter(|row| row.starts_with(|first: char| first.is_ascii_digit()));
    let layer = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let modules = cells[1].split('`').skip(1).step_by(2).map(str::to_string).collect();
        Layer { modules, unaware_of: cells[3].to_string() }
    };
    rows.map(layer).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a text names with `crate::`, besides what it says in comments and tests.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = Vec::new();
    for (_, rest) in code.match_indices("crate::").map(|(at, found)| code.split_at(at + found.len())) {
        let Some(group) = rest.strip_prefix('{') else {
            modules.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut first = true;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => first = true,
                _ if first && character.is_alphabetic() => {
                    modules.push(word(&group[at..]));
                    first = false;
                }
                _ => {}
            }
        }
    }
    modules
}

#[test]
fn imports_go_strictly_down_the_table_of_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layers = layers(&fs::read_to_string(root.join("lib.rs")).unwrap());
    let place: BTreeMap<&str, usize> = layers
        .iter()
        .enumerate()
        .flat_map(|(place, layer)| layer.modules.iter().map(move |module| (module.as_str(), place)))
        .collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut edges = 0;
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        if module == "lib" || module == "main" || file.ends_with("tests.rs") || file.ends_with("testing.rs") {
            continue;
        }
        let own = *place.get(module).unwrap_or_else(|| panic!("`{module}` is not in the table of layers"));
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let shown = relative.display();
            let other = *place.get(import.as_str()).unwrap_or_else(|| panic!("{shown} uses the unknown `{import}`"));
            assert!(import == module || other > own, "{shown} uses `{import}`, which is not below `{module}`");
            let unaware = layers[own].unaware_of.split([',', ' ', '`', '[', ']']).any(|word| word == import);
            assert!(!unaware, "{shown} uses `{import}`, of which `{module}` is unaware");
            edges += usize::from(import != module);
        }
    }
    assert!(edges > 50, "only {edges} imports were found");
}

#[test]
fn heavy_libraries_stay_in_their_layer() {
    let allowed: [(&str, &[&str]); 10] = [
        ("hf_hub", &["hub"]),
        ("ureq", &["cache", "hub"]),
        ("object_store", &["cache"]),
        ("tokio", &["cache"]),
        ("rusqlite", &["cache"]),
        ("petgraph", &["plan", "scheduler"]),
        ("burn", &["ml", "stages"]),
        ("clap", &["cli"]),
        ("indicatif", &["console"]),
        ("parquet", &["images", "stages"]),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let relative = file.strip_prefix(&root).unwrap();
        for (library, modules) in allowed {
            let inside = modules.iter().any(|module| relative.starts_with(module));
            let used = text.contains(&format!("use {library}::")) || text.contains(&format!(" {library}::"));
            assert!(inside || !used, "{} uses `{library}`", relative.display());
        }
        let prints = ["println!(", "eprintln!(", "print!(", "eprint!(", "dbg!("];
        let says = prints.iter().any(|print| text.contains(print));
        assert!(relative.starts_with("console") || !says, "{} prints", relative.display());
    }
}

//! The API book is whole: pages are listed, links lead somewhere, and no snippet escapes the tests of documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_page_is_listed_linked_and_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let book = root.join("docs/book");
    let index = fs::read_to_string(book.join("README.md")).unwrap();
    let compiled = ["crates/sphex/src/book.rs", "crates/sphex-wasi/src/lib.rs"]
        .map(|file| fs::read_to_string(root.join(file)).unwrap())
        .concat();
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(&book).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path()).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(book.join(link).exists(), "{name}: a link to {link}, which is not there");
        }
        // Paths of the repository that the pages name.
        for path in text.split('`').filter(|word| word.starts_with("crates/") && !word.contains(' ')) {
            assert!(root.join(path).exists(), "{name} names {path}, which is not there");
        }
        if name == "README.md" {
            continue;
        }
        assert!(index.contains(&format!("]({name})")), "{name} is not in the book's table");
        let by_file = compiled.contains(&format!("\"{name}\"")) || compiled.contains(&format!("/{name}\""));
        assert!(!text.contains("```rust") || by_file, "{name} has snippets that no test compiles");
        assert!(!text.contains("```rust,"), "{name} has a snippet that is not run");
        pages.insert(name);
    }
    assert!(pages.len() >= 12, "{pages:?}");
}

//! No case is forgotten: neither by the registry nor by the docs of the ports.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use agentic_testkit::CASES;

fn sources(folder: &str) -> Vec<(String, String)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).expect("the folder of the sources is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    let stem =
        |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    files.iter().map(|path| (stem(path), fs::read_to_string(path).expect("sources are text"))).collect()
}

#[test]
fn every_case_is_registered() {
    let written: BTreeSet<(String, String)> = sources("src/cases")
        .iter()
        .flat_map(|(topic, source)| {
            let names =
                source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
            names.map(|name| (topic.clone(), name.to_owned())).collect::<Vec<_>>()
        })
        .collect();
    let registered: BTreeSet<(String, String)> = CASES
        .iter()
        .flat_map(|(topic, names)| names.iter().map(|name| ((*topic).to_owned(), (*name).to_owned())))
        .collect();
    let missing: Vec<_> = written.difference(&registered).collect();
    assert!(missing.is_empty(), "add to src/registry.rs: {missing:?}");
    assert!(written.len() >= 2, "no case was found in src/cases");
}
#[test]
fn every_case_that_the_ports_name_exists() {
    let cases: BTreeSet<&str> = CASES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let mut named = 0;
    for (port, source) in sources("../agentic-core/src/port") {
        // The docs name the cases that prove a rule in parentheses: (`case`, `case`).
        let lists = source.split("(`").skip(1).filter_map(|rest| rest.split_once("`)"));
        for name in lists.flat_map(|(names, _)| names.split("`, `")) {
            named += 1;
            assert!(cases.contains(name), "port/{port}.rs names the case {name}, which does not exist");
        }
    }
    assert!(named > 10, "the docs of the ports name cases as (`case`)");
}

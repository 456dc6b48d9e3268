//! Loading: the layers, laid over each other.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use super::{Settings, Source, World, env, file, go};
use crate::failure::Failure;

/// What a layer sets: by key, the value and where it comes from.
type Layer = Vec<(String, Value, Source)>;

/// The settings, and where each comes from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where each comes from; what is absent is a default.
    pub origins: BTreeMap<String, Source>,
    /// What the user should know about the files.
    pub words: Vec<String>,
    /// Where the process stands.
    pub world: World,
}

impl Loaded {
    /// Where `key` comes from.
    pub(crate) fn origin(&self, key: &str) -> &Source {
        self.origins.get(key).unwrap_or(&Source::Default)
    }
}

/// Lays flags over the environment over `.env` over the files over the defaults.
///
/// `named` is the file of `--config`, which takes the place of the others; `flags` are key, value and the flag's name.
///
/// # Errors
/// A usage failure that names the file, the line or the variable, and the nearest key where one is not known.
pub(crate) fn load(
    world: World,
    named: Option<&Path>,
    flags: Vec<(&'static str, Value, &'static str)>,
) -> Result<Loaded, Failure> {
    let mut words = Vec::new();
    let mut layers: Vec<Layer> = match named {
        Some(path) => {
            let text = file::read(&world.absolute(path))?
                .ok_or_else(|| Failure::usage(format!("{} does not exist", path.display())))?;
            vec![layer(
                file::keys::<Settings>(&text, &path.display().to_string())?,
                Source::NamedFile(path.into()),
            )]
        }
        None => files(&world, &mut words)?,
    };
    layers.push(dot_env(&world, &mut words)?);
    layers.push(environment(&world, &mut words)?);
    layers.push(
        flags.into_iter().map(|(key, value, flag)| (key.to_owned(), value, Source::Flag(flag))).collect(),
    );

    let mut merged = Map::new();
    let mut origins = BTreeMap::new();
    for (key, value, source) in layers.into_iter().flatten() {
        merged.insert(key.clone(), value);
        origins.insert(key, source);
    }
    // The Go library knew no `store`: whoever sets one has moved over, and means it.
    if origins.contains_key("store") {
        for key in ["registry", "allowance"] {
            if matches!(origins.get(key), Some(Source::GoFile(_))) {
                merged.remove(key);
                origins.remove(key);
            }
        }
    }
    let mut settings: Settings = serde_json::from_value(Value::Object(merged))
        .map_err(|error| Failure::usage(format!("the settings are not valid: {error}")))?;
    if !origins.contains_key("data_dir") {
        settings.data_dir = world.data_dir();
    }
    settings.data_dir = world.absolute(&settings.data_dir);
    Ok(Loaded { settings, origins, words, world })
}

fn layer(keys: Map<String, Value>, source: Source) -> Layer {
    keys.into_iter().map(|(key, value)| (key, value, source.clone())).collect()
}

/// The files that nobody named, least first.
fn files(world: &World, words: &mut Vec<String>) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    if let Some(path) = world.go_file()
        && let Some(text) = file::read(&path)?
    {
        let (keys, told) = go::translate(&text, &path.display().to_string())?;
        words.extend(told);
        layers.push(layer(keys, Source::GoFile(path)));
    }
    if let Some(path) = world.user_file()
        && let Some(text) = file::read(&path)?
    {
        let keys = file::keys::<Settings>(&text, &path.display().to_string())?;
        layers.push(layer(keys, Source::UserFile(path)));
    }
    if let Some(text) = file::read(&world.absolute(Path::new("agentic.yaml")))? {
        let path = Path::new("./agentic.yaml");
        layers
            .push(layer(file::keys::<Settings>(&text, "./agentic.yaml")?, Source::ProjectFile(path.into())));
    }
    Ok(layers)
}

/// The variables of `.env` in the working directory; its other lines are somebody else's.
fn dot_env(world: &World, words: &mut Vec<String>) -> Result<Layer, Failure> {
    let Some(text) = file::read(&world.absolute(Path::new(".env")))? else { return Ok(Layer::new()) };
    let mut variables = BTreeMap::new();
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok((name, value)) => drop(variables.insert(name, value)),
            Err(error) => words.push(format!("a line of ./.env was skipped: {error}")),
        }
    }
    from_variables(&variables, "./.env", Source::DotEnv, words)
}

fn environment(world: &World, words: &mut Vec<String>) -> Result<Layer, Failure> {
    from_variables(&world.variables, "the environment", Source::Env, words)
}

fn from_variables(
    variables: &BTreeMap<String, String>,
    place: &str,
    source: fn(&'static str) -> Source,
    words: &mut Vec<String>,
) -> Result<Layer, Failure> {
    for name in variables.keys().filter(|name| name.starts_with("AGENTIC_")) {
        let known = env::KEYS.iter().map(|(known, _)| *known);
        let near = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
        if let Some((1..=2, known)) = near {
            words.push(format!("{name} in {place} is not known; did you mean {known}?"));
        }
    }
    let mut layer = Layer::new();
    for (name, key) in env::KEYS {
        if let Some(text) = variables.get(name).filter(|text| !text.is_empty()) {
            let value = value(key, text)
                .map_err(|error| Failure::usage(format!("{name} in {place} is not valid: {error}")))?;
            layer.push((key.to_owned(), value, source(name)));
        }
    }
    Ok(layer)
}

/// The value of a variable: text as it is where the key takes text, else JSON (numbers, `true`, lists).
fn value(key: &str, text: &str) -> Result<Value, String> {
    let fits = |value: &Value| {
        let alone = Map::from_iter([(key.to_owned(), value.clone())]);
        serde_json::from_value::<Settings>(Value::Object(alone)).map_err(|error| error.to_string())
    };
    let plain = Value::String(text.to_owned());
    let Err(why) = fits(&plain) else { return Ok(plain) };
    let Ok(json) = serde_json::from_str::<Value>(text) else { return Err(why) };
    fits(&json)?;
    Ok(json)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    /// A home and a working directory with files in them.
    fn world(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (tempfile::TempDir, World) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(dir.path().join("work")).unwrap();
        let mut all: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("HOME".to_owned(), dir.path().join("home").display().to_string());
        let world = World { directory: dir.path().join("work"), variables: all };
        (dir, world)
    }

    const LAYERS: [(&str, &str); 4] = [
        ("home/.core/agentic.yaml", "base_url: http://go\n"),
        ("home/.config/agentic/config.yaml", "base_url: http://user\n"),
        ("work/agentic.yaml", "base_url: http://project\n"),
        ("work/.env", "AGENTIC_BASE_URL=http://dotenv\nOTHER=1\n"),
    ];

    #[test]
    fn each_layer_lies_over_the_one_before() {
        let base_url = |files: &[(&str, &str)], variables: &[(&str, &str)], flags| {
            let (_dir, world) = world(files, variables);
            let loaded = load(world, None, flags).unwrap();
            (loaded.settings.base_url.clone(), loaded.origin("base_url").clone())
        };
        assert_eq!(base_url(&[], &[], vec![]), ("http://localhost:8080".into(), Source::Default));
        for (n, want) in (1..).zip(["http://go", "http://user", "http://project", "http://dotenv"]) {
            assert_eq!(base_url(&LAYERS[..n], &[], vec![]).0, want);
        }
        let variables = [("AGENTIC_BASE_URL", "http://env")];
        assert_eq!(base_url(&LAYERS, &variables, vec![]).1, Source::Env("AGENTIC_BASE_URL"));
        let flag = vec![("base_url", Value::from("http://flag"), "--base-url")];
        assert_eq!(base_url(&LAYERS, &variables, flag), ("http://flag".into(), Source::Flag("--base-url")));
    }

    #[test]
    fn a_named_file_takes_the_place_of_the_others() {
        let (dir, world) = world(&[LAYERS[1], LAYERS[2], ("other.yaml", "lease: 2m\n")], &[]);
        let loaded = load(world.clone(), Some(&dir.path().join("other.yaml")), vec![]).unwrap();
        assert_eq!(loaded.settings.base_url, "http://localhost:8080");
        assert_eq!(loaded.settings.lease, Duration::from_mins(2));
        assert!(load(world, Some(Path::new("none.yaml")), vec![]).unwrap_err().error.contains("none.yaml"));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_with_its_place() {
        let (_dir, world) = world(&[("work/agentic.yaml", "tick: 1s\nheartbaet: 5s\n")], &[]);
        let failure = load(world, None, vec![]).unwrap_err();
        assert_eq!(failure.hints, ["did you mean `heartbeat`?"]);
        assert!(failure.error.contains("2:1") || failure.error.contains("line 2"), "{}", failure.error);
    }

    #[test]
    fn an_unknown_key_inside_a_value_is_named_too() {
        let text = "default_allowance:\n  daily_tokens_limit: 1\n";
        let (_dir, world) = world(&[("work/agentic.yaml", text)], &[]);
        let failure = load(world, None, vec![]).unwrap_err();
        assert_eq!(failure.hints, ["did you mean `daily_token_limit`?"]);
    }

    #[test]
    fn yaml_is_read_strictly() {
        for text in ["tick: 1s\ntick: 2s\n", "allow_plaintext: yes\n", "tick: 5\n", "- 1\n"] {
            let (_dir, world) = world(&[("work/agentic.yaml", text)], &[]);
            assert!(load(world, None, vec![]).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_text_or_json() {
        let variables = [
            ("AGENTIC_TOKEN", "0123"),
            ("AGENTIC_ALLOW_PLAINTEXT", "true"),
            ("AGENTIC_LEASE", "90s"),
            ("AGENTIC_DEFAULT_ALLOWANCE", r#"{"daily_token_limit": 7}"#),
            ("AGENTIC_STORE", ""),
        ];
        let (_dir, world) = world(&[], &variables);
        let settings = load(world, None, vec![]).unwrap().settings;
        assert_eq!(settings.token.unwrap().reveal(), "0123");
        assert!(settings.allow_plaintext);
        assert_eq!(settings.lease, Duration::from_secs(90));
        assert_eq!(settings.default_allowance.unwrap().daily_token_limit.get(), 7);
        assert_eq!(settings.store, None, "an empty variable is an absent one");
    }

    #[test]
    fn a_bad_variable_is_named() {
        let (_dir, world) = world(&[], &[("AGENTIC_TICK", "10")]);
        let failure = load(world, None, vec![]).unwrap_err();
        assert!(failure.error.contains("AGENTIC_TICK"), "{}", failure.error);
    }

    #[test]
    fn a_variable_that_is_nearly_known_gets_a_word() {
        let (_dir, world) = world(&[], &[("AGENTIC_BASEURL", "x"), ("AGENTIC_TASK_FILE", "x")]);
        let words = load(world, None, vec![]).unwrap().words;
        assert_eq!(
            words,
            ["AGENTIC_BASEURL in the environment is not known; did you mean AGENTIC_BASE_URL?"]
        );
    }

    #[test]
    fn the_go_librarys_keys_are_understood() {
        let text = "base_url: http://go\ntoken: t\ndefault_project: p\nagent_id: a\nstore_backend: redis\nredis_addr: h:1\n";
        let (_dir, world) = world(&[("home/.core/agentic.yaml", text)], &[]);
        let loaded = load(world, None, vec![]).unwrap();
        assert_eq!(loaded.settings.default_project.unwrap().as_str(), "p");
        assert_eq!(loaded.settings.agent_id.unwrap().as_str(), "a");
        assert_eq!(loaded.settings.allowance.as_deref(), Some("redis://h:1"));
        assert_eq!((loaded.settings.store, loaded.settings.registry), (None, None));
        assert_eq!(loaded.words.len(), 1);
        assert!(loaded.words[0].contains("`allowance: redis://h:1`"), "{:?}", loaded.words);
    }

    #[test]
    fn the_go_librarys_back_ends_are_understood() {
        let loaded = |text: &str, variables: &[(&str, &str)]| {
            let (_dir, world) = world(&[("home/.core/agentic.yaml", text)], variables);
            load(world, None, vec![])
        };
        let redis = "registry_backend: redis\nregistry_redis_addr: :s3cret@h:1\n";
        let apart = loaded(redis, &[]).unwrap();
        assert_eq!(apart.settings.registry.as_deref(), Some("redis://:s3cret@h:1"));
        assert!(!apart.words[0].contains("s3cret"), "{:?}", apart.words);
        let moved = loaded(redis, &[("AGENTIC_STORE", "memory:")]).unwrap();
        assert_eq!((moved.settings.registry.as_deref(), moved.origin("registry")), (None, &Source::Default));
        for (text, word) in [
            ("store_backend: sqlite\nstore_path: /x.db\n", "`allowance: sqlite:PATH`"),
            ("registry_backend: sqlite\n", "`registry: sqlite:PATH`"),
            ("store_backend: memory\n", "`allowance: memory:`"),
            ("store_backend: redis\n", "`allowance: redis://HOST`"),
            ("redis_addr: h:1\n", "is missing"),
            ("registry_path: /x.db\n", "is missing"),
        ] {
            let loaded = loaded(text, &[]).unwrap();
            assert_eq!((loaded.settings.allowance, loaded.settings.registry), (None, None), "{text}");
            assert!(loaded.words.len() == 1 && loaded.words[0].contains(word), "{:?}", loaded.words);
        }
        assert!(loaded("store_backend: ''\nredis_addr: ''\n", &[]).unwrap().words.is_empty());
        let failure = loaded("store_backend: postgres\n", &[]).unwrap_err();
        assert!(failure.hints[0].contains("memory, sqlite and redis"), "{failure:?}");
    }

    #[test]
    fn every_variable_sets_a_key_and_every_key_has_a_variable() {
        let Value::Object(keys) = serde_json::to_value(Settings::default()).unwrap() else { panic!() };
        let mut set: Vec<&str> = env::KEYS.iter().map(|(_, key)| *key).collect();
        set.sort_unstable();
        assert_eq!(set, keys.keys().map(String::as_str).collect::<Vec<_>>());
    }
}

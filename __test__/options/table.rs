//! The table of options in the README and the types of the package, checked against the one table that the code goes by.

use std::path::Path;

use pm2::config::options::{Default, Kind, OptionSpec, Scope, TABLE, camel_case};
use serde_json::{Map, Value, json};

const BEGIN: &str = "<!-- options: written by `PM2_WRITE=1 cargo test --test options` -->\n";
const END: &str = "<!-- end of options -->";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect("read a file of the package")
}

fn row(spec: &OptionSpec) -> String {
    let camel = camel_case(spec.name);
    let mut names = format!("`{}`", spec.name);
    let others = (camel != spec.name).then_some(camel.as_str());
    for other in others.into_iter().chain(spec.aliases.iter().copied()) {
        names = format!("{names} `{other}`");
    }
    let default = match spec.default {
        Default::Absent => String::new(),
        Default::True => "`true`".to_owned(),
        Default::Number(number) => format!("`{number}`"),
        Default::Text(text) => format!("`{text}`"),
    };
    let about = match spec.scope {
        Scope::App => spec.about.to_owned(),
        Scope::Client => format!("{} (acted on by the caller's side)", spec.about),
    };
    let cells = [names, spec.allowed(), default, about];
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// One or many, as pm2 writes it.
fn one_or_list(mut values: Vec<Value>) -> Value {
    if values.len() == 1 {
        values.remove(0)
    } else {
        Value::Array(values)
    }
}

fn schema_of(spec: &OptionSpec) -> Value {
    let kinds = spec.types.iter().map(|kind| {
        Value::from(match kind {
            Kind::Boolean => "boolean",
            Kind::Number => "number",
            Kind::Text => "string",
            Kind::List => "array",
            Kind::Map => "object",
        })
    });
    let mut entry = Map::new();
    entry.insert("type".into(), one_or_list(kinds.collect()));
    if spec.name == "script" {
        entry.insert("require".into(), json!(true));
    }
    let aliases: Vec<Value> = spec.aliases.iter().copied().map(Value::from).collect();
    if !aliases.is_empty() {
        entry.insert("alias".into(), one_or_list(aliases));
    }
    let default = match spec.default {
        Default::Absent => None,
        Default::True => Some(json!(true)),
        Default::Number(number) => Some(json!(number)),
        Default::Text(text) => Some(json!(text)),
    };
    if let Some(default) = default {
        entry.insert("default".into(), default);
    }
    if let Some(min) = spec.min {
        entry.insert("min".into(), json!(min));
    }
    entry.insert("docDescription".into(), Value::from(spec.about));
    Value::Object(entry)
}

// Protects: tools that read pm2's schema (editors, generators of forms) learn of every option, and of none that is not there.
#[test]
fn the_schema_that_tools_read_is_the_table_of_options() {
    let mut schema = Map::new();
    for spec in TABLE {
        schema.insert(spec.name.to_owned(), schema_of(spec));
        if spec.name == "env" {
            let environments = json!({"type": ["object", "string"], "docDescription": "variables of one environment"});
            schema.insert("^env_\\S*$".to_owned(), environments);
        }
    }
    let text = format!("{:#}\n", Value::Object(schema));
    if std::env::var_os("PM2_WRITE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lib/API/schema.json");
        std::fs::write(path, text).unwrap();
        return;
    }
    // The formatter of JavaScript files has its own idea of where lines end.
    let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let stale = "run: PM2_WRITE=1 cargo test --test options";
    assert!(
        parsed(&read("lib/API/schema.json")) == parsed(&text),
        "{stale}"
    );
}

// Protects: what people read about options is what the code does.
#[test]
fn the_readme_shows_the_table_of_options() {
    let mut table =
        "| option | allowed | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    table.extend(TABLE.iter().map(row));
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var_os("PM2_WRITE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(shown == table, "run: PM2_WRITE=1 cargo test --test options");
}

// Protects: whoever writes TypeScript can use every option, under every name.
#[test]
fn the_types_name_every_option() {
    let types = read("index.d.ts");
    // CamelCased makes the generated spellings.
    let names = TABLE
        .iter()
        .filter(|spec| spec.scope == Scope::App)
        .flat_map(|spec| {
            let aliases = spec.aliases.iter().filter(|alias| !alias.contains('_'));
            std::iter::once(&spec.name).chain(aliases)
        });
    let missing: Vec<&&str> = names
        .filter(|name| !types.contains(&format!(" {name}?:")))
        .filter(|name| {
            // The camelCase form of one that is there.
            !TABLE.iter().any(|spec| {
                std::iter::once(&spec.name)
                    .chain(spec.aliases)
                    .any(|other| {
                        other != *name
                            && camel_case(other) == **name
                            && types.contains(&format!(" {other}?:"))
                    })
            })
        })
        .collect();
    assert!(missing.is_empty(), "not in index.d.ts: {missing:?}");
}

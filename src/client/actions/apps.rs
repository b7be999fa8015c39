//! Actions on declared apps: what runs is restarted or reloaded, what does not is started; or what runs is stopped or deleted.

use serde_json::Value;
use serde_json::value::RawValue;

use super::attributes::Change;
use super::files::{ReloadLock, create_folders};
use super::list::{Listing, join};
use super::operate::{Job, Operation, perform, trim};
use super::payload::Payload;
use super::script::launch;
use super::{ActionError, Rpc, window};
use crate::config::ecosystem::Declarations;
use crate::config::resolve::{self, DeclareError, Ecosystem, Form};
use crate::config::{Object, check, spelling};
use crate::host::world::World;

/// Starts the declared apps; those whose name is managed already are restarted or reloaded with what is declared.
pub(super) async fn start<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    declared: &Declarations,
    operation: Operation,
) -> Result<String, ActionError> {
    let world = World::new(&payload.around.env, &payload.around.cwd);
    let apps = checked(payload, declared, &world)?;
    let _lock = if operation.is_reload() {
        Some(ReloadLock::take(payload)?)
    } else {
        None
    };
    if apps.is_empty() {
        return Ok("[]".to_owned());
    }
    let ecosystem = Ecosystem {
        environment: payload.text_option("env"),
        deploy: declared.deploy.as_ref(),
    };
    let listing = Listing::fetch(rpc).await?;
    let is_managed = |name: &str| listing.entries.iter().any(|entry| entry.name == name);
    let (managed, missing): (Vec<App>, Vec<App>) =
        apps.into_iter().partition(|app| is_managed(&app.name));

    let mut outcome = Outcome::default();
    let jobs = changes(
        payload,
        &listing,
        &managed,
        &ecosystem,
        &world,
        &mut outcome,
    );
    let limit = operation.parallel(payload, jobs.len());
    for reply in window::all(jobs.iter().map(|job| perform(rpc, operation, job)), limit).await {
        outcome.add(reply.and_then(|value| trim(&value)));
    }
    let tasks = missing
        .into_iter()
        .map(|app| start_one(rpc, payload, app, &ecosystem, &world));
    for started in window::all(tasks, payload.parallel(None)).await {
        outcome.add(started);
    }
    outcome.value()
}

/// Stops or deletes the processes that bear the names of the declared apps. Names that nobody bears are no error.
pub(super) async fn end<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    declared: &Declarations,
    operation: Operation,
) -> Result<String, ActionError> {
    let names: Vec<String> = declared
        .apps
        .iter()
        .filter_map(|raw| {
            let app = spelling::canonical(raw);
            let name = resolve::name_of(&app)?;
            is_chosen(payload, &name).then(|| full_name(&app, &name, payload))
        })
        .collect();
    if names.is_empty() {
        return Ok("[]".to_owned());
    }
    let listing = Listing::fetch(rpc).await?;
    let meant = listing
        .entries
        .iter()
        .filter(|entry| names.contains(&entry.name));
    let jobs: Vec<Job> = meant
        .map(|entry| Job {
            id: entry.id.to_string(),
            env: None,
        })
        .collect();
    let mut outcome = Outcome::default();
    let limit = operation.parallel(payload, jobs.len());
    for reply in window::all(jobs.iter().map(|job| perform(rpc, operation, job)), limit).await {
        outcome.add(reply.map(|value| vec![value]));
    }
    outcome.value()
}

/// One declared app that passed the checks.
struct App {
    name: String,
    options: Object,
}

/// What several apps came to.
#[derive(Default)]
struct Outcome {
    values: Vec<String>,
    errors: Vec<ActionError>,
}

impl Outcome {
    fn add(&mut self, result: Result<Vec<String>, ActionError>) {
        match result {
            Ok(values) => self.values.extend(values),
            Err(error) => self.errors.push(error),
        }
    }

    /// The values, or an error with one message for each failure that carries them.
    fn value(self) -> Result<String, ActionError> {
        let values = join(self.values.iter().map(String::as_str));
        if self.errors.is_empty() {
            return Ok(values);
        }
        let messages: Vec<String> = self
            .errors
            .iter()
            .map(|error| error.message.clone())
            .collect();
        Err(ActionError {
            message: messages.join(","),
            code: self.errors.into_iter().find_map(|error| error.code),
            errors: messages,
            value: RawValue::from_string(values).ok(),
        })
    }
}

/// Every declared app with the caller's options over it, checked. Fails if any of them is bad, also one that is not acted on.
fn checked(
    payload: &Payload,
    declared: &Declarations,
    world: &World,
) -> Result<Vec<App>, ActionError> {
    let mut apps = Vec::new();
    let mut problems = Vec::new();
    for raw in &declared.apps {
        match resolve::declare(&adopted(payload, raw), &payload.around, world) {
            Ok(mut options) => {
                adopt_count(payload, &mut options);
                apps.push(options);
            }
            Err(DeclareError::Options(errors)) => {
                let name = resolve::name_of(&spelling::canonical(raw)).unwrap_or_default();
                problems.extend(
                    errors
                        .iter()
                        .map(|error| in_app(error, &name, declared.apps.len())),
                );
            }
            Err(error) => return Err(ActionError::new(error.to_string())),
        }
    }
    if !problems.is_empty() {
        return Err(ActionError::new(problems.join(",")));
    }
    let named = apps.into_iter().filter_map(|mut options| {
        let name = resolve::name_of(&options).unwrap_or_default();
        if !is_chosen(payload, &name) {
            return None;
        }
        if !options.get("namespace").is_some_and(spelling::is_truthy) {
            options.shift_remove("namespace");
            options.insert(
                "namespace".into(),
                Value::from(payload.text_option("namespace").unwrap_or("default")),
            );
        }
        let name = full_name(&options, &name, payload);
        // A declaration without name and script is kept: starting it says what it lacks.
        if !name.is_empty() {
            options.insert("name".into(), Value::from(name.as_str()));
        }
        Some(App { name, options })
    });
    Ok(named.collect())
}

/// A problem, with the app's name when there are several apps.
fn in_app(error: &check::OptionError, name: &str, count: usize) -> String {
    let text = error.to_string();
    match text.strip_suffix(')') {
        Some(text) if count > 1 && !name.is_empty() => {
            let name: String = name.chars().take(60).collect();
            format!("{text}, app: {name})")
        }
        _ => text,
    }
}

/// The declaration with those of the caller's options that count for every app.
fn adopted(payload: &Payload, raw: &Object) -> Object {
    let mut app = raw.clone();
    let options = &payload.options;
    let given = |key: &str| {
        options
            .get(key)
            .filter(|value| spelling::is_truthy(value))
            .cloned()
    };
    let lacks = |app: &Object, name: &str| {
        let spec = crate::config::options::find(name);
        !spec
            .and_then(|spec| spelling::value_of(app, spec))
            .is_some_and(spelling::is_truthy)
    };
    if given("watch") == Some(Value::Bool(true)) && lacks(&app, "watch") {
        app.insert("watch".into(), Value::Bool(true));
    }
    if let Some(ignored) = given("ignore_watch").or_else(|| given("ignoreWatch"))
        && lacks(&app, "ignore_watch")
    {
        app.insert("ignore_watch".into(), ignored);
    }
    for key in ["uid", "gid", "install_url"] {
        if let Some(value) = given(key) {
            app.insert(key.into(), value);
        }
    }
    app
}

/// The count of the call in place of the app's, which has decided by then whether its instances share their logs.
fn adopt_count(payload: &Payload, app: &mut Object) {
    let count = payload.options.get("instances");
    if let Some(count) = count.filter(|count| count.is_number() && spelling::is_truthy(count)) {
        app.insert("instances".into(), count.clone());
    }
}

/// Is the app among those that the caller restricts the action to?
fn is_chosen(payload: &Payload, name: &str) -> bool {
    payload
        .text_option("only")
        .is_none_or(|only| only == name || only.split([',', ' ']).any(|one| one == name))
}

/// The name with the environment after it and the prefix before it, as asked.
fn full_name(app: &Object, name: &str, payload: &Payload) -> String {
    let mut name = name.to_owned();
    if let Some(environment) = payload.text_option("env").filter(|_| {
        app.get("append_env_to_name")
            .is_some_and(spelling::is_truthy)
    }) {
        name = format!("{name}-{environment}");
    }
    match payload.text_option("name_prefix") {
        Some(prefix) if !name.contains(prefix) => format!("{prefix}:{name}"),
        _ => name,
    }
}

/// One job for each process of each managed app, in the order of the apps. Of several apps with one name the last decides.
fn changes(
    payload: &Payload,
    listing: &Listing,
    managed: &[App],
    ecosystem: &Ecosystem<'_>,
    world: &World,
    outcome: &mut Outcome,
) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for (index, app) in managed.iter().enumerate() {
        if managed[index + 1..]
            .iter()
            .any(|later| later.name == app.name)
        {
            continue;
        }
        let change = Change::of_declaration(&app.options, &app.name, payload, ecosystem, world)
            .and_then(|change| create_folders(&change.folders()).map(|()| change));
        match change {
            Ok(change) => {
                let own = listing
                    .entries
                    .iter()
                    .filter(|entry| entry.name == app.name);
                jobs.extend(own.map(|entry| Job {
                    id: entry.id.to_string(),
                    env: Some(change.for_process(Some(entry))),
                }));
            }
            Err(error) => outcome.add(Err(error)),
        }
    }
    jobs
}

/// Starts an app that does not run. Everything up to the request happens when the future is first polled, so that the daemon sees the
/// apps in their order.
async fn start_one<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    mut app: App,
    ecosystem: &Ecosystem<'_>,
    world: &World,
) -> Result<Vec<String>, ActionError> {
    if let Some(cwd) = payload.text_option("cwd") {
        app.options.insert("cwd".into(), Value::from(cwd));
    }
    if let Some(name) = payload.text_option("force_name") {
        app.options.insert("name".into(), Value::from(name));
    }
    let mut prepared = resolve::prepare(
        app.options,
        &payload.around,
        ecosystem,
        Form::Declaration,
        world,
    )
    .map_err(|error| ActionError::new(error.to_string()))?;
    if payload.is_on("started_as_module") {
        prepared
            .record
            .insert("pmx_module".into(), Value::Bool(true));
    }
    create_folders(&prepared.folders)?;
    launch(rpc, &prepared.record).await
}

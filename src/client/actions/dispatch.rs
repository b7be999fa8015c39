//! From an action's name to what it does.

use super::operate::Operation;
use super::payload::{Payload, What};
use super::{ActionError, Rpc, apps, files, modules, operate, queries, restore, scale, script};

/// Performs the action `name` as the module's documentation says and gives the JSON text of its value.
pub async fn run<R: Rpc>(rpc: &R, name: &str, payload: &str) -> Result<String, ActionError> {
    let payload = &Payload::read(payload)?;
    match name {
        "start" => start(rpc, payload).await,
        "restart" => act(rpc, payload, Operation::Restart).await,
        "reload" => act(rpc, payload, Operation::Reload).await,
        "gracefulReload" => act(rpc, payload, Operation::GracefulReload).await,
        "stop" => act(rpc, payload, Operation::Stop).await,
        "delete" => act(rpc, payload, Operation::Delete).await,
        "scale" => scale::scale(rpc, payload).await,
        "reset" => queries::reset(rpc, payload).await,
        "describe" => queries::describe(rpc, payload).await,
        "getPID" => queries::pids(rpc, payload).await,
        "getProcessIdByName" => queries::ids(rpc, payload).await,
        "sendSignal" => queries::signal(rpc, payload).await,
        "dump" => files::save(rpc, payload).await,
        "resurrect" => restore::resurrect(rpc, payload, &|_| ()).await,
        "clearDump" => restore::clear(payload),
        "flush" => files::flush(rpc, payload).await,
        "startModule" => modules::start(rpc, payload).await,
        "launchModules" => modules::launch(rpc, payload).await,
        _ => Err(ActionError::new(format!("unknown action {name}"))),
    }
}

/// The action `resurrect`, told step by step.
pub async fn resurrect<R: Rpc>(
    rpc: &R,
    payload: &str,
    tell: &dyn Fn(restore::Restoring),
) -> Result<String, ActionError> {
    restore::resurrect(rpc, &Payload::read(payload)?, tell).await
}

async fn start<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    match &payload.what {
        What::Apps(declared) => apps::start(rpc, payload, declared, Operation::Restart).await,
        What::Script(script) | What::Target(script) => script::start(rpc, payload, script).await,
        What::Nothing => Err(ActionError::new("No script path - aborting")),
    }
}

async fn act<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    operation: Operation,
) -> Result<String, ActionError> {
    match &payload.what {
        What::Apps(declared) if operation.starts() => {
            apps::start(rpc, payload, declared, operation).await
        }
        What::Apps(declared) => apps::end(rpc, payload, declared, operation).await,
        _ => operate::on_target(rpc, payload, operation).await,
    }
}

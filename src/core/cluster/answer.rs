//! What our primary says to workers.

use crate::core::Effect;
use crate::model::{JsonText, RunId, SocketId};

use super::Primary;
use super::listener::{Asker, Sharing};
use super::query::{SocketName, envelope, message};

impl Primary {
    pub(super) fn grant(
        &mut self,
        asker: Asker,
        socket: SocketId,
        scope: &str,
        key: &str,
        out: &mut Vec<Effect>,
    ) {
        let Some(listener) = self
            .scopes
            .get_mut(scope)
            .and_then(|scope| scope.get_mut(key))
        else {
            return;
        };
        let Some(worker) = self.workers.get_mut(&asker.run) else {
            return;
        };
        worker.held.push(key.into());
        listener.rotation.push_back(asker.run);
        let (quoted_key, ack) = (crate::model::quoted(key), asker.ack.to_string());
        let name = listener.name.as_ref().map(shown);
        let is_passed = listener.sharing != Sharing::RoundRobin;
        let mut fields = vec![
            ("errno", if is_passed { "0" } else { "null" }),
            ("key", &*quoted_key),
            ("ack", &*ack),
            ("data", &*listener.data),
        ];
        if let (false, Some(name)) = (is_passed, &name) {
            fields.push(("sockname", name));
        }
        self.is_changed = true;
        let text = message(&fields, worker.take_seq().0);
        out.push(if is_passed {
            Effect::SendSocket {
                run: asker.run,
                line: envelope(listener.address.handle_type(), &text),
                socket,
            }
        } else {
            Effect::Send {
                run: asker.run,
                line: JsonText::from_valid(text),
            }
        });
    }

    pub(super) fn refuse(
        &mut self,
        run: RunId,
        key: &str,
        ack: u64,
        errno: i32,
        out: &mut Vec<Effect>,
    ) {
        let fields = [
            ("errno", &*errno.to_string()),
            ("key", &*crate::model::quoted(key)),
            ("ack", &*ack.to_string()),
            ("data", "null"),
        ];
        self.send(run, &fields, out);
    }

    pub(super) fn send(&mut self, run: RunId, fields: &[(&str, &str)], out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        let (seq, is_leap) = worker.take_seq();
        self.is_changed |= is_leap;
        let text = message(fields, seq);
        out.push(Effect::Send {
            run,
            line: JsonText::from_valid(text),
        });
    }
}

/// As `sockname` shows it.
fn shown(name: &SocketName) -> String {
    format!(
        "{{\"address\":{},\"family\":\"{}\",\"port\":{}}}",
        crate::model::quoted(&name.address),
        if name.is_v6 { "IPv6" } else { "IPv4" },
        name.port
    )
}

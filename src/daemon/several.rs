//! The methods of pm2 0.6 and 0.7 that act on several processes at once, or look processes up.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;

use super::methods::{Find, Several, SeveralAnswer};
use super::outbox::ReplyTo;
use super::pilot::{Pilot, Waiter};
use crate::model::PmId;

/// How far an act on several processes has come.
#[derive(Debug)]
pub(crate) struct Progress {
    waiting: usize,
    reply: Option<ReplyTo>,
    /// The answer, where it is known from the start.
    answer: Option<Vec<u8>>,
}

impl Pilot {
    /// Begins the act; the answer comes when it is done to all. One that fails does not keep the others from it.
    pub(super) fn act_on_several(&mut self, several: &Several, reply: ReplyTo) {
        let is_meant = |name: &str| several.name.as_deref().is_none_or(|wanted| wanted == name);
        let meant = self
            .supervisor
            .processes()
            .filter(|process| is_meant(process.name()));
        let ids: Vec<PmId> = meant.map(crate::core::Process::id).collect();
        if ids.is_empty() && several.name.is_some() {
            reply.fail("Unknown process name");
            return;
        }
        let answer = match several.answer {
            SeveralAnswer::ListBefore => {
                let mut list = Vec::new();
                self.write_list(&mut list);
                Some(list)
            }
            SeveralAnswer::ListAfter => None,
            SeveralAnswer::Count => {
                Some(format!("{{\"process_restarted\":{}}}", ids.len()).into_bytes())
            }
        };
        let progress = Progress {
            waiting: ids.len(),
            reply: Some(reply),
            answer,
        };
        let progress = Rc::new(RefCell::new(progress));
        for id in &ids {
            let call = several.act.call((*id).into());
            let input = self.call(call, Waiter::Part(Rc::clone(&progress)));
            self.inputs.push_back(input);
        }
        self.answer_when_done(&progress);
    }

    /// One of them is done.
    pub(super) fn part_done(&self, progress: &RefCell<Progress>) {
        progress.borrow_mut().waiting -= 1;
        self.answer_when_done(progress);
    }

    fn answer_when_done(&self, progress: &RefCell<Progress>) {
        let mut progress = progress.borrow_mut();
        if progress.waiting > 0 {
            return;
        }
        let Some(reply) = progress.reply.take() else {
            return;
        };
        match progress.answer.take() {
            Some(answer) => reply.values(&[&answer]),
            None => reply.value_in_parts(self.list_parts()),
        }
    }

    /// Answers with the records (or, for a path, the processes) that fit, or null.
    pub(super) fn find(&self, find: &Find, reply: ReplyTo) {
        let mut list = Vec::new();
        self.write_list(&mut list);
        let list: Vec<Value> = serde_json::from_slice(&list).unwrap_or_default();
        let found: Vec<Value> = list
            .into_iter()
            .filter(|process| fits(find, &process["pm2_env"]))
            .map(|mut process| match find {
                Find::FullPath(_) => process,
                Find::Script(_) | Find::Port(_) => process["pm2_env"].take(),
            })
            .collect();
        if found.is_empty() {
            reply.values(&[b"null"]);
        } else {
            reply.values(&[Value::from(found).to_string().as_bytes()]);
        }
    }
}

fn fits(find: &Find, record: &Value) -> bool {
    let path = record["pm_exec_path"].as_str().unwrap_or_default();
    match find {
        Find::Script(script) => path.rsplit('/').next() == Some(script),
        Find::FullPath(wanted) => path == wanted,
        Find::Port(port) => [&record["PORT"], &record["env"]["PORT"]]
            .iter()
            .any(|value| value.as_str() == Some(port) || value.to_string() == *port),
    }
}
